// The page of a text: choosing a unit, reading a character. The large data (hidden states, weights)
// is unpacked after the text has been painted.
"use strict";

const read = JSON.parse(byId("read").textContent);
const count = read.tokens.length;
const hidden = []; // by layer: Int8Array (H, T), once unpacked
let arrays = null;
let cellStates = null; // (C, L, H) of the stored ones
let opened = null; // the model in this thread, once a gate is asked for
let values = new Float32Array(count); // of the chosen unit, -1 to 1
let found = [];

const mode = () => byId("mode").value;
const layerChosen = () => Number(byId("layer").value);
const unitChosen = () => Number(byId("unit").value);
const palette = () => byId("palette").value;
const label = (token) => nameOf(read.labels[token]);

function colour(at) {
  if (mode() === "nats") return strengthColour(palette(), Math.max(0, read.nats[at]) / 8);
  return signedColour(palette(), values[at]);
}

function tell(at) {
  const nats = read.nats[at];
  const surprise = nats < 0 ? "read, not predicted" : `surprise ${nats.toFixed(2)} nats`;
  const next = read.top_tokens[at].map((token, rank) => {
    const percent = (read.top_mille[at][rank] / 10).toFixed(1);
    return `${label(token)} ${percent} %`;
  });
  const chosen = `layer ${layerChosen()}, unit ${unitChosen()}`;
  const value = mode() === "nats" ? "" : ` ${chosen}: ${values[at].toFixed(3)}.`;
  byId("told").textContent =
    `${label(read.tokens[at])} (character ${at + 1} of ${count}), ${surprise}. ` +
    `Next, likeliest first: ${next.join(", ")}.${value}`;
  byId("told").dataset.at = at;
}

const rows = openRows(byId("rows"), byId("space"), read, palette, colour, tell);

function model() {
  opened ??= openModel(about, arrays);
  return opened;
}

// A unit's states over the text; nothing where they are not unpacked yet.
function chosenValues(layer, unit) {
  if (!hidden[layer]) return new Float32Array(count);
  if (mode() === "cell") return cellsOf(model(), arrays, hidden, read.tokens, layer, unit);
  const states = hidden[layer].subarray(unit * count, (unit + 1) * count);
  return Float32Array.from(states, (state) => state / 127);
}

function limited(id, most) {
  const value = Math.min(most, Math.max(0, Math.trunc(Number(byId(id).value)) || 0));
  byId(id).max = most;
  byId(id).value = value;
  return value;
}

function recolour() {
  const started = performance.now();
  const layer = limited("layer", about.layers - 1);
  const unit = limited("unit", about.hidden - 1);
  if (mode() !== "nats") values = chosenValues(layer, unit);
  rows.paint();
  if (rows.current() >= 0) tell(rows.current());
  document.body.dataset.unit = `${mode()} ${layer} ${unit}`;
  document.body.dataset.ms = (performance.now() - started).toFixed(1);
}

function chooseUnit(layer, unit) {
  byId("layer").value = layer;
  byId("unit").value = unit;
  if (mode() === "nats") byId("mode").value = "hidden";
  recolour();
  byId("rows").scrollIntoView({ block: "nearest" });
}

function showState(at) {
  if (!arrays) return;
  const layer = layerChosen();
  const shown = layerAt(model(), hidden, cellStates, read.checkpoint, read.tokens, layer, at);
  const names = Object.keys(shown);
  const head = element("tr");
  for (const name of ["unit", ...names]) {
    const cell = element("th", "", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element("tbody");
  for (let unit = 0; unit < about.hidden; unit++) {
    const line = element("tr", unit === unitChosen() ? "chosen" : "");
    line.append(element("td", "", unit));
    for (const name of names) {
      const cell = element("td", "", shown[name][unit].toFixed(3));
      cell.dataset.value = shown[name][unit];
      line.append(cell);
    }
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  byId("units-of").replaceChildren(top, body);
  byId("state-title").textContent =
    `Layer ${layer} after ${label(read.tokens[at])}, character ${at + 1}`;
  byId("state").hidden = false;
  document.body.dataset.shown = `${layer} ${at}`;
}

// Symbols of the text that begin a match; a label may have more than one character.
function search(wanted) {
  found = [];
  const inMatch = new Set();
  const starts = read.tokens.map((token) => read.labels[token]);
  const text = starts.join("");
  const symbolAt = [];
  starts.forEach((each, at) => {
    for (let letter = 0; letter < each.length; letter++) symbolAt.push(at);
  });
  for (let at = wanted ? text.indexOf(wanted) : -1; at >= 0; at = text.indexOf(wanted, at + 1)) {
    found.push(symbolAt[at]);
    for (let letter = 0; letter < wanted.length; letter++) inMatch.add(symbolAt[at + letter]);
  }
  rows.setMatches(inMatch);
  byId("found").textContent = wanted ? `${found.length} found` : "";
}

function nextMatch() {
  if (!found.length) return;
  const next = found.find((at) => at > rows.current()) ?? found[0];
  rows.choose(next, true);
  byId("found").textContent = `${found.indexOf(next) + 1} of ${found.length} found`;
}

function filterFindings() {
  const kept = showFindings(byId("findings"), read.findings, byId("filter").value, chooseUnit);
  byId("filtered").textContent = `${kept} of ${read.findings.length}`;
}

byId("rows").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const ways = { n: 1, p: -1 };
  if (event.key === "Enter") showState(Math.max(0, rows.current()));
  else if (event.key in ways) {
    byId("unit").value = unitChosen() + ways[event.key];
    recolour();
  } else if (!rows.step(event.key)) return;
  event.preventDefault();
});
byId("rows").addEventListener("mouseover", (event) => {
  const at = rows.symbolAt(event.target);
  if (at >= 0) tell(at);
});
byId("rows").addEventListener("click", (event) => {
  const at = rows.symbolAt(event.target);
  if (at < 0) return;
  rows.choose(at, false);
  showState(at);
});
for (const id of ["mode", "layer", "unit", "palette"]) byId(id).addEventListener("input", recolour);
byId("palette").addEventListener("input", () => rows.layOut());
byId("view").addEventListener("input", () => rows.setCondensed(byId("view").value === "condensed"));
byId("find").addEventListener("input", () => search(byId("find").value));
byId("next").addEventListener("click", nextMatch);
byId("choice").addEventListener("submit", (event) => {
  event.preventDefault();
  nextMatch();
});
byId("filter").addEventListener("input", filterFindings);
// A phone changes the height whenever its address bar slides away; only a new width matters.
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== width) rows.layOut();
  width = window.innerWidth;
});

if (!read.has_cells) byId("mode").querySelector("[value=cell]").remove();
byId("findings-part").hidden = read.findings.length === 0;
byId("gates-part").hidden = read.saturation.length === 0;
// The best finding says more than unit 0.
if (read.findings.length) {
  byId("layer").value = read.findings[0].layer;
  byId("unit").value = read.findings[0].unit;
}
rows.layOut();
filterFindings();
showSaturation(byId("gates"), read.saturation);
showHistograms(byId("histograms"), read.histograms);
document.body.dataset.text = "painted";

// The large blocks stand behind this script.
async function unpackAll() {
  for (let layer = 0; layer < about.layers; layer++) {
    hidden[layer] = new Int8Array(await unpacked(byId(`hidden-${layer}`).textContent));
    byId(`hidden-${layer}`).remove(); // its letters would stay in memory beside its numbers
    recolour();
  }
  cellStates = new Float32Array(await unpacked(byId("cells").textContent));
  arrays = arraysOf(about.places, await unpacked(byId("weights").textContent));
  document.body.dataset.text = "ready";
}

document.addEventListener("DOMContentLoaded", unpackAll);
