// A text's key and its random numbers: pipeline/counter_rng.py and Request.key. SHA-256 is written
// out, since a page from file:// need not have crypto.subtle.
"use strict";

const word64 = (value) => BigInt.asUintN(64, value);
const GOLDEN = 0x9e3779b97f4a7c15n;

function mix(given) {
  let value = word64(given);
  value = word64((value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n);
  value = word64((value ^ (value >> 27n)) * 0x94d049bb133111ebn);
  return value ^ (value >> 31n);
}

// Number `position` of a key, in [0, 1).
function uniform(key, position) {
  const word = mix(key + BigInt(position + 1) * GOLDEN);
  return Number(word >> 11n) * 2 ** -53;
}

function keyOf(...parts) {
  return parts.reduce((key, part) => mix(key + GOLDEN + part), 0n);
}

// The key of a text: of its seed (BigInt), temperature, prime (bytes) and number 0.
function requestKey(seed, temperature, prime) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, temperature);
  const digest = BigInt(`0x${sha256(prime).slice(0, 16)}`);
  return keyOf(seed, view.getBigUint64(0), digest, 0n);
}

// The first 32 bits of the fractional parts of a root of the first primes.
function rootsOfPrimes(count, power) {
  const found = [];
  for (let number = 2; found.length < count; number++) {
    let divisor = 2;
    while (divisor * divisor <= number && number % divisor) divisor++;
    if (divisor * divisor > number) found.push(((number ** power % 1) * 2 ** 32) | 0);
  }
  return found;
}

// The SHA-256 of bytes, in hexadecimal (FIPS 180-4).
function sha256(bytes) {
  const rounds = rootsOfPrimes(64, 1 / 3);
  const state = rootsOfPrimes(8, 1 / 2);
  const padded = new Uint8Array(((bytes.length + 72) >> 6) << 6);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
  const words = new Int32Array(64);
  const turn = (value, by) => (value >>> by) | (value << (32 - by));
  for (let start = 0; start < padded.length; start += 64) {
    for (let at = 0; at < 16; at++) words[at] = view.getInt32(start + 4 * at);
    for (let at = 16; at < 64; at++) {
      const early = words[at - 15];
      const late = words[at - 2];
      const small = turn(early, 7) ^ turn(early, 18) ^ (early >>> 3);
      const large = turn(late, 17) ^ turn(late, 19) ^ (late >>> 10);
      words[at] = (words[at - 16] + small + words[at - 7] + large) | 0;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let at = 0; at < 64; at++) {
      const large = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
      const choice = (e & f) ^ (~e & g);
      const one = (h + large + choice + rounds[at] + words[at]) | 0;
      const small = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
      const two = (small + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, at) => {
      state[at] = (state[at] + value) | 0;
    });
  }
  return state.map((value) => (value >>> 0).toString(16).padStart(8, "0")).join("");
}
