// Colours of hidden states and of surprise. A colour's strength is its opacity, so that nothing is
// the paper itself, light or dark. Each palette: above zero, below zero, surprise.
"use strict";

const PALETTES = {
  post: { above: "34, 160, 60", below: "45, 105, 235", surprise: "200, 30, 30" },
  // Orange and blue are told apart with any of the three kinds of colour blindness.
  safe: { above: "230, 140, 0", below: "0, 114, 178", surprise: "213, 94, 0" },
};

// The colour of a value in -1 to 1.
function signedColour(palette, value) {
  const { above, below } = PALETTES[palette];
  const strength = Math.min(1, Math.abs(value)) * 0.85;
  return `rgba(${value >= 0 ? above : below}, ${strength.toFixed(3)})`;
}

// The colour of a strength in 0 to 1.
function strengthColour(palette, strength) {
  const shown = Math.min(1, Math.max(0, strength)) * 0.8;
  return `rgba(${PALETTES[palette].surprise}, ${shown.toFixed(3)})`;
}

// Units as squares on a canvas: `values` are int8 hidden states, 127 being 1.
function drawUnits(canvas, values, palette, chosen = -1) {
  const columns = Math.min(canvas.clientWidth < 500 ? 32 : 64, values.length);
  canvas.width = columns;
  canvas.height = Math.ceil(values.length / columns);
  const pen = canvas.getContext("2d");
  for (let unit = 0; unit < values.length; unit++) {
    pen.fillStyle = unit === chosen ? "red" : signedColour(palette, values[unit] / 127);
    pen.fillRect(unit % columns, Math.floor(unit / columns), 1, 1);
  }
}

// What a character is called where it cannot be seen.
function nameOf(letter) {
  const names = { "\n": "line feed", "\t": "tab", " ": "space", "\r": "carriage return" };
  return names[letter] ?? visible(letter);
}

// A character as it is shown: a sign for what has no shape of its own, or turns others round.
function visible(letter) {
  if (letter === "\n") return "\u21b5";
  if (letter === "\t") return "\u21e5";
  const code = letter.codePointAt(0);
  if (code < 32) return String.fromCodePoint(0x2400 + code);
  if (code === 127) return "\u2421";
  const turns = /[\u0080-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]/;
  return turns.test(letter) && letter.length === 1 ? "\ufffd" : letter;
}
