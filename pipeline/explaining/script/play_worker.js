// The model at work, beside the page: writes and scores, a slice of time after the other, so that
// "stop" and a newer text are heard in between.
"use strict";

const SLICE_MS = 40;
const SAVED_EVERY = 32; // symbols between states that a change of the scored text goes back to

let model = null;
let writing = 0; // the number of the text that is being written; another one ends it
let scoring = 0;
let saved = []; // states before symbols 0, SAVED_EVERY, ...
let scored = { tokens: [], nats: [] };

// setTimeout would wait 4 ms at least between slices.
const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()();
const pause = () =>
  new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(0);
  });

function symbolsOf(text) {
  if (model.about.unit === "char") return Array.from(text, (letter) => letter.codePointAt(0));
  return new TextEncoder().encode(text);
}

// A reader types line feeds. Models of old Macs' text know the carriage return in their place.
function typed(text) {
  const hasReturnsAlone = model.tokens.has(13) && !model.tokens.has(10);
  return hasReturnsAlone ? text.replaceAll("\n", "\r") : text;
}

// Tokens of text, and -1 for what the model has no symbol for.
function tokensOf(text) {
  return Array.from(symbolsOf(text), (symbol) => model.tokens.get(symbol) ?? -1);
}

function lit(state) {
  return Int8Array.from(state.activations);
}

async function write(asked, number) {
  const { temperature, topK, topP, count } = asked;
  const prime = typed(asked.prime);
  const tokens = tokensOf(prime);
  if (tokens.includes(-1)) {
    const missing = Array.from(symbolsOf(prime)).filter((symbol) => !model.tokens.has(symbol));
    postMessage({ type: "refused", number, missing, unit: model.about.unit });
    return;
  }
  const primeBytes = new TextEncoder().encode(prime);
  const key = requestKey(BigInt(asked.seed), temperature, primeBytes);
  const state = model.newState();
  const bytes = [];
  let position = 0;
  for (const token of tokens) {
    model.feed(state, token);
    bytes.push(...model.texts[token]);
    position++;
  }
  const started = performance.now();
  let left = count;
  let total = 0;
  let sent = bytes.length; // the page shows the prime itself
  while (left > 0 && writing === number) {
    const end = performance.now() + SLICE_MS;
    while (left > 0 && performance.now() < end) {
      const chance = uniform(key, position);
      let token;
      if (position === 0) token = model.first(chance);
      else {
        token = model.draw(state.logits, temperature, topK, topP, chance);
        total += model.nats(state.logits, token);
      }
      bytes.push(...model.texts[token]);
      model.feed(state, token);
      position++;
      left--;
    }
    const piece = Uint8Array.from(bytes.slice(sent));
    sent = bytes.length;
    const written = count - left;
    const rate = (written * 1000) / (performance.now() - started);
    postMessage({ type: "piece", number, piece, written, rate, nats: total, cells: lit(state) });
    await pause();
  }
  const digest = sha256(Uint8Array.from(bytes));
  postMessage({ type: "ended", number, digest, complete: left === 0 });
}

// The beginning of the text that was scored before is not scored again.
async function score(text, number) {
  const tokens = tokensOf(typed(text));
  let same = 0;
  while (same < tokens.length && tokens[same] === scored.tokens[same]) same++;
  const kept = Math.min(Math.floor(same / SAVED_EVERY), Math.max(0, saved.length - 1));
  saved.length = Math.min(saved.length, kept + 1);
  let at = saved.length ? kept * SAVED_EVERY : 0;
  const state = saved.length ? copy(saved[kept]) : model.newState();
  const nats = scored.nats.slice(0, at);
  scored = { tokens: tokens.slice(0, at), nats };
  let end = performance.now() + SLICE_MS;
  while (at < tokens.length) {
    if (at % SAVED_EVERY === 0 && saved.length === at / SAVED_EVERY) saved.push(copy(state));
    const token = tokens[at];
    // The first symbol is read, not predicted; a symbol that the model does not have is skipped.
    const known = token >= 0;
    nats.push(known && state.begun ? model.nats(state.logits, token) : null);
    if (known) {
      model.feed(state, token);
      state.begun = true;
    }
    scored.tokens.push(token);
    at++;
    if (performance.now() >= end) {
      await pause();
      if (scoring !== number) return;
      end = performance.now() + SLICE_MS;
    }
  }
  const known = tokens.map((token) => token >= 0);
  postMessage({ type: "scored", number, nats, known, cells: lit(state) });
}

function copy(state) {
  const one = { begun: state.begun === true };
  for (const name of ["hidden", "cell", "activations", "logits"]) one[name] = state[name].slice();
  return one;
}

async function open({ about, base64 }) {
  model = await modelOf(about, base64);
  model.tokens = new Map(about.vocab.map((symbol, token) => [symbol, token]));
  // What the vocabulary lacks is its unknown token, where it has one: the reader's text may have
  // it, a prime may not.
  const encoder = new TextEncoder();
  model.texts = about.vocab.map((symbol) => {
    if (symbol === null) return encoder.encode("\ufffd");
    return about.unit === "byte" ? [symbol] : encoder.encode(String.fromCodePoint(symbol));
  });
  postMessage({ type: "ready" });
}

// A rejected promise of a worker reaches nobody, so it is told.
const told = (work) => work.catch((error) => postMessage({ type: "failed", told: String(error) }));

onmessage = ({ data }) => {
  if (data.type === "open") told(open(data));
  if (data.type === "write") {
    writing = data.number;
    told(write(data, data.number));
  }
  if (data.type === "stop") writing = 0;
  if (data.type === "score") {
    scoring = data.number;
    told(score(data.text, data.number));
  }
};
