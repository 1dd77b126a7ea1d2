// The text in rows of cells, of which only those in sight are in the page: 10,000 characters with
// five predictions each would be 60,000 elements. Text gets in as text nodes alone.
"use strict";

// Where each row begins: at most `columns` symbols, and a line feed ends one, as does the carriage
// return that ends lines of old Macs alone.
function rowsOf(labels, tokens, columns) {
  const starts = [0];
  for (let at = 1; at < tokens.length; at++) {
    const full = at - starts[starts.length - 1] >= columns;
    const before = labels[tokens[at - 1]];
    const isOver = before === "\n" || (before === "\r" && labels[tokens[at]] !== "\n");
    if (full || isOver) starts.push(at);
  }
  return starts;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// `read` is what page.py describes; `colour(at)` gives a symbol's colour, `matches` a Set of
// symbols that a search has found.
function openRows(box, space, read, palette, colour, told) {
  const { labels, tokens } = read;
  const shown = new Map(); // row -> its element
  let starts = [0];
  let height = 1;
  let condensed = false;
  let current = -1;
  let matches = new Set();

  const rowOf = (at) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const endOf = (row) => starts[row + 1] ?? tokens.length;
  const isHex = (label) => label.length === 2 && label !== "\r\n";

  function makeCell(at, column) {
    const label = labels[tokens[at]];
    const sign = visible(label);
    const cell = element("div", "cell");
    cell.setAttribute("role", "gridcell");
    cell.setAttribute("aria-colindex", column + 1);
    cell.id = `c${at}`;
    cell.classList.toggle("hex", isHex(label));
    cell.classList.toggle("sign", sign !== label);
    cell.append(element("b", "", sign));
    if (condensed) return cell;
    read.top_tokens[at].forEach((token, rank) => {
      const chance = read.top_mille[at][rank] / 1000;
      const next = element("i", isHex(labels[token]) ? "hex" : "", visible(labels[token]));
      next.style.backgroundColor = strengthColour(palette(), chance);
      cell.append(next);
    });
    const bar = element("u");
    const filled = element("s");
    filled.style.width = `${Math.min(100, Math.max(0, read.nats[at]) * 12.5)}%`;
    bar.append(filled);
    cell.append(bar);
    return cell;
  }

  function paintCell(cell, at) {
    cell.firstChild.style.backgroundColor = colour(at);
    cell.classList.toggle("match", matches.has(at));
    cell.classList.toggle("current", at === current);
  }

  function makeRow(row) {
    const made = element("div", "row");
    made.setAttribute("role", "row");
    made.setAttribute("aria-rowindex", row + 1);
    made.style.top = `${row * height}px`;
    for (let at = starts[row]; at < endOf(row); at++) {
      made.append(makeCell(at, at - starts[row]));
    }
    return made;
  }

  function show() {
    const first = Math.max(0, Math.floor(box.scrollTop / height) - 2);
    const last = Math.min(starts.length - 1, Math.ceil((box.scrollTop + box.clientHeight) / height) + 2);
    for (const [row, made] of shown) {
      if (row >= first && row <= last) continue;
      made.remove();
      shown.delete(row);
    }
    for (let row = first; row <= last; row++) {
      if (shown.has(row)) continue;
      const made = makeRow(row);
      shown.set(row, made);
      space.append(made);
      paintRow(row, made);
    }
  }

  function paintRow(row, made) {
    let at = starts[row];
    for (const cell of made.children) paintCell(cell, at++);
  }

  function paint() {
    for (const [row, made] of shown) paintRow(row, made);
  }

  // Lay the text out again: the width or the view is another.
  function layOut() {
    space.replaceChildren();
    shown.clear();
    box.classList.toggle("condensed", condensed);
    const probe = element("div", "row");
    probe.append(makeCell(0, 0));
    space.append(probe);
    const size = probe.firstChild.getBoundingClientRect();
    probe.remove();
    height = Math.ceil(size.height) + (condensed ? 0 : 6);
    const columns = Math.max(8, Math.floor((box.clientWidth - 8) / size.width));
    starts = rowsOf(labels, tokens, columns);
    space.style.height = `${starts.length * height}px`;
    box.setAttribute("aria-rowcount", starts.length);
    show();
    if (current >= 0) reveal(current);
  }

  function reveal(at) {
    const top = rowOf(at) * height;
    if (top < box.scrollTop) box.scrollTop = top;
    const bottom = top + height - box.clientHeight;
    if (bottom > box.scrollTop) box.scrollTop = bottom;
    show();
  }

  function choose(at, mayScroll) {
    current = Math.min(tokens.length - 1, Math.max(0, at));
    if (mayScroll) reveal(current);
    paint();
    box.setAttribute("aria-activedescendant", `c${current}`);
    told(current);
  }

  function step(key) {
    const row = rowOf(Math.max(0, current));
    const column = Math.max(0, current) - starts[row];
    const lineAt = (other) => {
      const to = Math.min(starts.length - 1, Math.max(0, other));
      return Math.min(starts[to] + column, endOf(to) - 1);
    };
    const page = Math.max(1, Math.floor(box.clientHeight / height));
    const moves = {
      ArrowLeft: () => current - 1,
      ArrowRight: () => current + 1,
      ArrowUp: () => lineAt(row - 1),
      ArrowDown: () => lineAt(row + 1),
      Home: () => starts[row],
      End: () => endOf(row) - 1,
      PageUp: () => lineAt(row - page),
      PageDown: () => lineAt(row + page),
    };
    if (!(key in moves)) return false;
    choose(moves[key](), true);
    return true;
  }

  const symbolAt = (target) => {
    const cell = target.closest?.(".cell");
    return cell ? Number(cell.id.slice(1)) : -1;
  };
  box.addEventListener("scroll", show);
  return {
    paint,
    layOut,
    choose,
    step,
    symbolAt,
    current: () => current,
    setCondensed: (is) => {
      condensed = is;
      layOut();
    },
    setMatches: (found) => {
      matches = found;
      paint();
    },
  };
}
