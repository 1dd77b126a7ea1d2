// Small plots on canvases, each with its figures in words for who cannot see it.
"use strict";

const PLOT_SIDE = 180;

function plot(into, title, words, draw) {
  const figure = document.createElement("figure");
  const canvas = document.createElement("canvas");
  canvas.width = PLOT_SIDE;
  canvas.height = PLOT_SIDE;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title}: ${words}`);
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  figure.append(canvas, caption);
  into.append(figure);
  const pen = canvas.getContext("2d");
  pen.fillStyle = "rgba(60, 120, 220, 0.45)";
  draw(pen);
}

function showSaturation(into, rows) {
  for (const row of rows) {
    const often = row.left.filter((share) => share > 0.5).length;
    const open = row.right.filter((share) => share > 0.5).length;
    const words = `${often} of ${row.left.length} units mostly below 0.1, ${open} mostly above 0.9`;
    plot(into, `layer ${row.layer}, ${row.gate} gate`, words, (pen) => {
      row.left.forEach((left, unit) => {
        pen.beginPath();
        const across = 4 + left * (PLOT_SIDE - 8);
        const up = PLOT_SIDE - 4 - row.right[unit] * (PLOT_SIDE - 8);
        pen.arc(across, up, 2.5, 0, 2 * Math.PI);
        pen.fill();
      });
    });
  }
}

function showHistograms(into, layers) {
  layers.forEach((counts, layer) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const edge = counts[0] + counts[counts.length - 1];
    const percent = ((100 * edge) / total).toFixed(1);
    const most = Math.max(...counts);
    const words = `${percent} % lie in the outermost bins`;
    plot(into, `layer ${layer}, -1 to +1: ${words}`, words, (pen) => {
      const width = PLOT_SIDE / counts.length;
      counts.forEach((count, bin) => {
        const height = (count / most) * (PLOT_SIDE - 4);
        pen.fillRect(bin * width, PLOT_SIDE - height, width - 0.5, height);
      });
    });
  });
}

// A table of findings whose rows hold a button that chooses the unit.
function showFindings(table, rows, filter, choose) {
  const figure = (value) => (value === null ? "-" : value.toFixed(3));
  const head = document.createElement("thead");
  const body = document.createElement("tbody");
  const line = document.createElement("tr");
  for (const name of ["what", "layer, unit", "measure", "effect", "interval", "", "show"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    line.append(cell);
  }
  head.append(line);
  const wanted = filter.toLowerCase();
  const kept = rows.filter((row) =>
    `${row.label} ${row.layer}:${row.unit} ${row.measure} ${row.note}`.toLowerCase().includes(wanted),
  );
  for (const row of kept) {
    const interval = `${figure(row.low)} to ${figure(row.high)}`;
    const cells = [row.label, `${row.layer}, ${row.unit}`, row.measure, figure(row.effect), interval];
    const made = document.createElement("tr");
    for (const text of [...cells, row.note]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      made.append(cell);
    }
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "show";
    button.setAttribute("aria-label", `Colour by layer ${row.layer}, unit ${row.unit}`);
    button.addEventListener("click", () => choose(row.layer, row.unit));
    const last = document.createElement("td");
    last.append(button);
    made.append(last);
    body.append(made);
  }
  table.replaceChildren(head, body);
  return kept.length;
}
