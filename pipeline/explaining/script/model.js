// The engine's int8 path (pipeline/engine/{arithmetic,step,kernels}.py), operation by operation.
//
// Every float32 operation is one Math.fround of a float64 one: for + - * / that is the float32
// result itself, since 53 bits are more than twice 24 and two. exp and sums of weights are float64,
// as there. Shapes: V symbols, H units, L layers, N = gates * H outputs padded to whole panels.
"use strict";

const fround = Math.fround;
const ACTIVATION_STEPS = 127; // to either side of zero; the page's activations are signed
const UNIT_LIMIT = 1 << 11; // inputs whose products fit one half of a packed sum
const SHIFT = 2 ** 26; // between the two halves: 2048 * 127 * 127 is below 2 ** 25
const TOGETHER = 8; // outputs that one pass over the inputs sums

// A matrix of panels (P, K / group, columns, group) of int8 as float64, two weights in one number:
// low + high * SHIFT. One multiplication then does for two, and all sums stay whole numbers below
// 2 ** 53. It is twice as fast as int32 products.
function packed(panels, scale, inputs, outputs, columns, group) {
  const groups = Math.ceil(inputs / group);
  const blocks = Math.ceil(outputs / TOGETHER);
  const pairs = new Float64Array((blocks * inputs * TOGETHER) / 2);
  const at = (output, input) => {
    const panel = Math.floor(output / columns);
    const row = panel * groups + Math.floor(input / group);
    return (row * columns + (output % columns)) * group + (input % group);
  };
  let place = 0;
  for (let block = 0; block < blocks; block++) {
    for (let input = 0; input < inputs; input++) {
      for (let output = block * TOGETHER; output < (block + 1) * TOGETHER; output += 2) {
        pairs[place++] = panels[at(output, input)] + SHIFT * panels[at(output + 1, input)];
      }
    }
  }
  return { pairs, scale, inputs, blocks, sums: new Float64Array(blocks * TOGETHER) };
}

// sums[output] += low and high halves of a packed sum.
function addHalves(sums, at, both) {
  const high = Math.round(both / SHIFT);
  sums[at] += both - high * SHIFT;
  sums[at + 1] += high;
}

// out += x (int8 values as float64, from `from`) times a packed matrix, scaled: rounded twice.
function multiply(out, x, from, matrix) {
  const { pairs, scale, inputs, blocks, sums } = matrix;
  sums.fill(0);
  for (let first = 0; first < inputs; first += UNIT_LIMIT) {
    const last = Math.min(inputs, first + UNIT_LIMIT);
    for (let block = 0; block < blocks; block++) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      let place = (block * inputs + first) * 4;
      for (let input = first; input < last; input++) {
        const value = x[from + input];
        a += value * pairs[place];
        b += value * pairs[place + 1];
        c += value * pairs[place + 2];
        d += value * pairs[place + 3];
        place += 4;
      }
      const output = block * TOGETHER;
      addHalves(sums, output, a);
      addHalves(sums, output + 2, b);
      addHalves(sums, output + 4, c);
      addHalves(sums, output + 6, d);
    }
  }
  for (let output = 0; output < sums.length; output++) {
    out[output] = fround(out[output] + fround(fround(sums[output]) * scale[output]));
  }
}

// `about` is play.py's description; `arrays` its arrays by name.
function openModel(about, arrays) {
  const { cell: kind, layers, hidden: size, symbols, outputs, columns, group, lowest } = about;
  const numbers = about.arithmetic;
  const [p0, p1, p2, p3, p4] = numbers.tanh_p;
  const [q0, q1, q2, q3, q4] = numbers.tanh_q;
  const { tanh_limit: limit, log2e, ln2_high: ln2High, ln2_low: ln2Low } = numbers;
  const { exp_lowest: expLowest, taylor } = numbers;
  const gates = about.gates * size;

  const layerOf = (stack, layer) => {
    const length = stack.panels.length / stack.layers;
    const panels = stack.panels.subarray(layer * length, (layer + 1) * length);
    const scale = stack.scale.subarray(layer * outputs, (layer + 1) * outputs);
    return packed(panels, scale, size, gates, columns, group);
  };
  // Packed when they are first needed: the page of a text colours by a unit without any of them.
  const recurrent = [];
  const inputs = [];
  let head = null;
  const recurrentOf = (layer) =>
    (recurrent[layer] ??= layerOf({ ...arrays.recurrent, layers }, layer));
  const inputsOf = (layer) =>
    (inputs[layer] ??= layerOf({ ...arrays.inputs, layers: layers - 1 }, layer - 1));
  const headBias = arrays.head_bias;

  function tanh(given) {
    let x = given > limit ? limit : given;
    x = x < -limit ? -limit : x;
    const s = fround(x * x);
    let p = fround(fround(p0 * s) + p1);
    p = fround(fround(p * s) + p2);
    p = fround(fround(p * s) + p3);
    p = fround(fround(p * s) + p4);
    let q = fround(fround(q0 * s) + q1);
    q = fround(fround(q * s) + q2);
    q = fround(fround(q * s) + q3);
    q = fround(fround(q * s) + q4);
    return fround(fround(x * p) / q);
  }

  function sigmoid(x) {
    return fround(fround(0.5 * tanh(fround(0.5 * x))) + 0.5);
  }

  // 2 ** -k, built by halving, which is exact for normal numbers; Math.pow promises no last bit.
  const powers = new Float64Array(1100);
  powers[0] = 1;
  for (let k = 1; k < 1022; k++) powers[k] = powers[k - 1] / 2;

  function exp(x) {
    if (!(x > expLowest)) return 0;
    const k = Math.floor(x * log2e + 0.5);
    const r = x - k * ln2High - k * ln2Low;
    let value = taylor[0];
    for (let index = 1; index < taylor.length; index++) value = value * r + taylor[index];
    return value * powers[-k];
  }

  const gate = new Float32Array(outputs);
  const product = new Float32Array(outputs);

  function newState() {
    return {
      hidden: new Float32Array(layers * size),
      cell: new Float32Array(layers * size),
      activations: new Float64Array(layers * size), // whole numbers of -127 to 127
      logits: new Float32Array(Math.ceil(symbols / columns) * columns),
    };
  }

  // Into `gate` (and, for GRU, `product`): what layer's cell reads, from activations at two places.
  function preactivate(layer, token, below, belowAt, own, ownAt) {
    const bias = layer === 0 ? arrays.table : arrays.input_bias;
    const row = layer === 0 ? token : layer;
    gate.set(bias.subarray(row * outputs, (row + 1) * outputs));
    product.set(arrays.recurrent_bias.subarray(layer * outputs, (layer + 1) * outputs));
    if (layer > 0) multiply(gate, below, belowAt, inputsOf(layer));
    multiply(kind === "gru" ? product : gate, own, ownAt, recurrentOf(layer));
  }

  function stepLstm(hidden, cell, at) {
    for (let unit = 0; unit < size; unit++) {
      const kept = fround(sigmoid(gate[size + unit]) * cell[at + unit]);
      const added = fround(sigmoid(gate[unit]) * tanh(gate[2 * size + unit]));
      cell[at + unit] = fround(kept + added);
    }
    for (let unit = 0; unit < size; unit++) {
      hidden[at + unit] = fround(sigmoid(gate[3 * size + unit]) * tanh(cell[at + unit]));
    }
  }

  function stepGru(hidden, at) {
    for (let unit = 0; unit < size; unit++) {
      const reset = sigmoid(fround(gate[unit] + product[unit]));
      const recurrentPart = fround(reset * product[2 * size + unit]);
      const candidate = tanh(fround(gate[2 * size + unit] + recurrentPart));
      const update = sigmoid(fround(gate[size + unit] + product[size + unit]));
      const change = fround(update * fround(hidden[at + unit] - candidate));
      hidden[at + unit] = fround(candidate + change);
    }
  }

  function feed(state, token) {
    const { hidden, cell, activations, logits } = state;
    for (let layer = 0; layer < layers; layer++) {
      const at = layer * size;
      preactivate(layer, token, activations, at - size, activations, at);
      if (kind === "lstm") stepLstm(hidden, cell, at);
      else if (kind === "gru") stepGru(hidden, at);
      else for (let unit = 0; unit < size; unit++) hidden[at + unit] = tanh(gate[unit]);
      for (let unit = at; unit < at + size; unit++) {
        const steps = fround(fround(hidden[unit] * ACTIVATION_STEPS) + 128.5);
        activations[unit] = Math.floor(steps) - 128; // 128.5 rounds, as the engine does
      }
    }
    logits.set(headBias);
    head ??= packed(arrays.head.panels, arrays.head.scale, size, symbols, columns, group);
    multiply(logits, activations, (layers - 1) * size, head);
  }

  // Negative log-likelihood of a token, in nats, and the log of all weights' sum.
  function nats(logits, token) {
    let highest = logits[0];
    for (let other = 1; other < symbols; other++) {
      if (logits[other] > highest) highest = logits[other];
    }
    let total = 0;
    for (let other = 0; other < symbols; other++) total += exp(logits[other] - highest);
    return Math.log(total) - (logits[token] - highest);
  }

  const weights = new Float64Array(symbols);

  // Zero the weights that top_k and top_p leave out: kernels._narrow.
  function narrow(count, topK, topP) {
    const order = Array.from({ length: count }, (_, index) => index);
    order.sort((one, other) => weights[other] - weights[one]); // stable: of equals the first
    let kept = topK > 0 ? Math.min(topK, count) : count;
    if (topP < 1) {
      let total = 0;
      for (let rank = 0; rank < kept; rank++) total += weights[order[rank]];
      let running = 0;
      for (let rank = 0; rank < kept; rank++) {
        running += weights[order[rank]];
        if (running >= topP * total) {
          kept = rank + 1;
          break;
        }
      }
    }
    for (let rank = kept; rank < count; rank++) weights[order[rank]] = 0;
  }

  // A token at `number` of the cumulative distribution: kernels._draw.
  function draw(logits, temperature, topK, topP, number) {
    const count = symbols - lowest;
    let likeliest = 0;
    for (let token = 1; token < count; token++) {
      if (logits[lowest + token] > logits[lowest + likeliest]) likeliest = token;
    }
    if (temperature === 0) return lowest + likeliest;
    const highest = logits[lowest + likeliest];
    for (let token = 0; token < count; token++) {
      const difference = logits[lowest + token] - highest;
      weights[token] = exp(temperature === 1 ? difference : difference / temperature);
    }
    if ((topK > 0 && topK < count) || topP < 1) narrow(count, topK, topP);
    let total = 0;
    for (let token = 0; token < count; token++) total += weights[token];
    const target = number * total;
    let running = 0;
    let chosen = likeliest;
    for (let token = 0; token < count; token++) {
      running += weights[token];
      if (weights[token] > 0) {
        chosen = token;
        if (running > target) break;
      }
    }
    return lowest + chosen;
  }

  // A token by what documents start with: kernels._first_token.
  function first(number) {
    const counts = about.first_counts;
    const sought = number * counts[counts.length - 1];
    let token = 0;
    while (token < counts.length - 1 && counts[token] <= sought) token++;
    return token;
  }

  const inner = { tanh, sigmoid, gate, product, preactivate, stepLstm };
  return { about, newState, feed, nats, draw, first, exp, inner };
}
