// Gates and cell states, computed again from 8-bit hidden states and the page's weights: the same
// operations as the engine's, so the same bits. `hidden` has a layer's states by unit: (H, T).
"use strict";

// The weights of one output of a layer's matrix, by input.
function weightsOf(about, panels, output) {
  const { columns, group, hidden: size } = about;
  const groups = Math.ceil(size / group);
  const row = Math.floor(output / columns) * groups;
  const weights = new Int8Array(size);
  for (let input = 0; input < size; input++) {
    const place = (row + Math.floor(input / group)) * columns + (output % columns);
    weights[input] = panels[place * group + (input % group)];
  }
  return weights;
}

// before += the product of one output's weights with the states at every symbol, those of `late`
// symbols earlier.
function addProduct(before, weights, scale, states, late) {
  const count = before.length;
  const sums = new Int32Array(count);
  for (let input = 0; input < weights.length; input++) {
    const weight = weights[input];
    if (weight === 0) continue;
    const row = states.subarray(input * count, (input + 1) * count);
    for (let at = late; at < count; at++) sums[at] += weight * row[at - late];
  }
  for (let at = 0; at < count; at++) {
    before[at] = fround(before[at] + fround(fround(sums[at]) * scale));
  }
}

// tanh of an LSTM unit's cell state at every symbol: its four gates alone, over the whole text.
function cellsOf(model, arrays, hidden, tokens, layer, unit) {
  const { about, inner } = model;
  const { hidden: size, outputs, layers } = about;
  const gates = [0, 1, 2, 3].map((gate) => {
    const output = gate * size + unit;
    const before = new Float32Array(tokens.length);
    const bias = arrays.input_bias[layer * outputs + output];
    for (let at = 0; at < tokens.length; at++) {
      before[at] = layer === 0 ? arrays.table[tokens[at] * outputs + output] : bias;
    }
    const add = (stack, index, count, states, late) => {
      const length = stack.panels.length / count;
      const panels = stack.panels.subarray(index * length, (index + 1) * length);
      const weights = weightsOf(about, panels, output);
      addProduct(before, weights, stack.scale[index * outputs + output], states, late);
    };
    if (layer > 0) add(arrays.inputs, layer - 1, layers - 1, hidden[layer - 1], 0);
    add(arrays.recurrent, layer, layers, hidden[layer], 1);
    return before;
  });
  const values = new Float32Array(tokens.length);
  let cell = 0;
  for (let at = 0; at < tokens.length; at++) {
    const kept = fround(inner.sigmoid(gates[1][at]) * cell);
    cell = fround(kept + fround(inner.sigmoid(gates[0][at]) * inner.tanh(gates[2][at])));
    values[at] = inner.tanh(cell);
  }
  return values;
}

// All units of a layer at one symbol: named columns of H numbers. `cells` (C, L, H) are stored cell
// states, one every `every` symbols.
function layerAt(model, hidden, cells, every, tokens, layer, at) {
  const { about, inner } = model;
  const size = about.hidden;
  const count = tokens.length;
  const statesAt = (of, when) => {
    const states = new Float64Array(size);
    if (of < 0 || when < 0) return states;
    for (let unit = 0; unit < size; unit++) states[unit] = hidden[of][unit * count + when];
    return states;
  };
  const prepare = (when) => {
    const below = statesAt(layer - 1, when);
    inner.preactivate(layer, tokens[when], below, 0, statesAt(layer, when - 1), 0);
  };
  const column = (of) => Float32Array.from({ length: size }, (_, unit) => of(unit));
  const { gate, product, sigmoid, tanh } = inner;
  const shown = { hidden: column((unit) => hidden[layer][unit * count + at] / 127) };
  if (about.cell === "lstm") {
    const first = Math.floor(at / every);
    const place = (first * about.layers + layer) * size;
    const cell = cells.slice(place, place + size);
    const output = new Float32Array(size);
    for (let when = first * every; when <= at; when++) {
      prepare(when);
      inner.stepLstm(output, cell, 0);
    }
    shown.cell = cell;
    shown["tanh(cell)"] = column((unit) => tanh(cell[unit]));
    shown.input = column((unit) => sigmoid(gate[unit]));
    shown.forget = column((unit) => sigmoid(gate[size + unit]));
    shown.candidate = column((unit) => tanh(gate[2 * size + unit]));
    shown.output = column((unit) => sigmoid(gate[3 * size + unit]));
  } else if (about.cell === "gru") {
    prepare(at);
    const reset = column((unit) => sigmoid(fround(gate[unit] + product[unit])));
    shown.reset = reset;
    shown.update = column((unit) => sigmoid(fround(gate[size + unit] + product[size + unit])));
    shown.candidate = column((unit) =>
      tanh(fround(gate[2 * size + unit] + fround(reset[unit] * product[2 * size + unit]))),
    );
  } else {
    prepare(at);
    shown["before tanh"] = column((unit) => gate[unit]);
  }
  return shown;
}
