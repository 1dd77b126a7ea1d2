// The page of a model: what a person asks goes to the worker, what it answers is shown. Text gets
// into the page as text nodes alone.
"use strict";

const byId = (id) => document.getElementById(id);
const about = JSON.parse(byId("about").textContent);
const source = byId("worker").textContent;
const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));

let number = 0; // of the newest text asked for
let scoring = 0;
let decoder = null;
let lit = new Int8Array(about.layers * about.hidden);
const canvases = [];

function showUnits() {
  canvases.forEach((canvas, layer) => {
    const values = lit.subarray(layer * about.hidden, (layer + 1) * about.hidden);
    drawUnits(canvas, values, byId("palette").value);
  });
}

function state(name, told) {
  document.body.dataset.state = name;
  byId("write").disabled = name === "opening" || name === "writing";
  byId("stop").disabled = name !== "writing";
  byId("status").textContent = told;
}

function refused(message) {
  const named = message.missing.slice(0, 8).map((symbol) =>
    message.unit === "byte"
      ? `byte 0x${symbol.toString(16)}`
      : `${nameOf(String.fromCodePoint(symbol))} (U+${symbol.toString(16).padStart(4, "0")})`,
  );
  state("ready", `The model has no symbol for ${named.join(", ")}; take that out of the prime.`);
}

const shown = (value) => Math.round(value).toLocaleString("en");

function piece(message) {
  const box = byId("text");
  const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 40;
  // A carriage return alone ends lines of old Macs; in a page it would have no shape.
  const text = decoder.decode(message.piece, { stream: true });
  box.append(text.replace(/\r(?!\n)/g, "\n"));
  if (atEnd) box.scrollTop = box.scrollHeight;
  lit = message.cells;
  const mean = message.written > 1 ? (message.nats / message.written).toFixed(3) : "-";
  const rate = `${shown(message.rate)} a second, ${mean} nats each`;
  byId("status").textContent = `${shown(message.written)} characters, ${rate}.`;
  document.body.dataset.rate = Math.round(message.rate);
}

function ended(message) {
  byId("text").append(decoder.decode());
  byId("digest").textContent = message.digest;
  state(message.complete ? "ended" : "stopped", byId("status").textContent);
}

// Bytes of one character share its span, with the sum of their surprise.
function scored(message) {
  const text = byId("own").value;
  const box = byId("scored");
  const palette = byId("palette").value;
  const spans = [];
  let at = 0;
  let total = 0;
  let counted = 0;
  for (const letter of text) {
    const length = about.unit === "char" ? 1 : new TextEncoder().encode(letter).length;
    let nats = 0;
    let known = true;
    let predicted = false;
    for (let end = at + length; at < end; at++) {
      known &&= message.known[at];
      if (message.nats[at] === null) continue;
      nats += message.nats[at];
      predicted = true;
      counted++;
    }
    total += nats;
    const span = document.createElement("span");
    span.textContent = letter;
    span.style.backgroundColor = strengthColour(palette, nats / 8);
    span.title = predicted
      ? `${nameOf(letter)}: ${nats.toFixed(2)} nats, probability ${Math.exp(-nats).toPrecision(2)}`
      : `${nameOf(letter)}: read, not predicted`;
    span.dataset.nats = nats.toFixed(4);
    if (!known) span.className = "unknown";
    spans.push(span);
  }
  box.replaceChildren(...spans);
  const mean = counted ? (total / counted).toFixed(3) : "-";
  byId("cost").textContent = text
    ? `${mean} nats a ${about.unit === "char" ? "character" : "byte"} over ${shown(counted)}.`
    : "";
  lit = message.cells;
  box.dataset.letters = spans.length;
}

const failed = (why) => state("failed", `The model cannot run here: ${why}`);

worker.onmessage = ({ data: message }) => {
  if (message.type === "failed") failed(message.told);
  if (message.type === "ready") state("ready", "Ready.");
  if (message.type === "scored" && message.number === scoring) scored(message);
  if (message.number === number) {
    if (message.type === "refused") refused(message);
    if (message.type === "piece") piece(message);
    if (message.type === "ended") ended(message);
  }
  requestAnimationFrame(showUnits);
};

worker.onerror = (event) => failed(event.message);

byId("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  const seed = BigInt(byId("seed").value);
  if (seed >= 1n << 63n) return state("ready", "The seed must be below 2 to the 63.");
  const topP = byId("top_p").valueAsNumber;
  if (!(topP > 0)) return state("ready", "Top p must be above 0 and at most 1.");
  number++;
  decoder = new TextDecoder();
  byId("text").textContent = byId("prime").value;
  byId("digest").textContent = "-";
  state("writing", "Reading the prime.");
  return worker.postMessage({
    type: "write",
    number,
    prime: byId("prime").value,
    temperature: byId("temperature").valueAsNumber + 0,
    topK: byId("top_k").valueAsNumber,
    topP,
    seed: String(seed),
    count: byId("count").valueAsNumber,
  });
});

byId("stop").addEventListener("click", () => worker.postMessage({ type: "stop" }));

byId("own").addEventListener("input", () => {
  scoring++;
  worker.postMessage({ type: "score", number: scoring, text: byId("own").value });
});

byId("palette").addEventListener("change", () => {
  showUnits();
  byId("own").dispatchEvent(new Event("input"));
});

for (let layer = 0; layer < about.layers; layer++) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Layer ${layer}: hidden states of ${about.hidden} units`);
  canvases.push(canvas);
  byId("units").append(canvas);
}
showUnits();
// The weights stand behind this script: a page is painted before it has all of them.
document.addEventListener("DOMContentLoaded", () => {
  worker.postMessage({ type: "open", about, base64: byId("weights").textContent });
});
