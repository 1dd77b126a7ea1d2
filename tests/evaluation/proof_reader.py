"""A reader of proof files written from docs/formats.md alone: it imports nothing of the house.

numpy is here for float32, number by number; products are of integers. Slow: some thousand symbols a
second.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

F = np.float32
P = (1.31844645e-08, 2.04720216e-05, 3.48659425e-03, 1.33732084e-01, 9.99999906e-01)
Q = (7.70276715e-07, 3.27140507e-04, 2.5842027e-02, 4.67065052e-01, 1.0)


def read(data: bytes, model: Path) -> bytes:
    """The text of a proof file."""
    assert data[:8] == bytes.fromhex("8955524E5052460A")
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    fields = struct.unpack(">BBBBIQQ32s32sH", data[8:98])
    form, arithmetic, precision, weight_bits, count, text_bytes, symbols, digest, key, name = fields
    assert (form, arithmetic, precision, weight_bits) == (1, 1, 8, 32)
    config = json.loads((model / "config.json").read_bytes())["model"]
    files = [(model / file).read_bytes() for file in ("weights.safetensors", "vocab.json")]
    digests = [hashlib.sha256(file).digest() for file in files]
    assert hashlib.sha256(b"".join(digests) + config["cell"].encode()).digest() == key
    at = 98 + name
    sizes = struct.unpack(f">{count}I", data[at : at + 4 * count])
    at += 4 * count
    vocab = json.loads(files[1])
    found: list[int] = []
    for number, size in enumerate(sizes):
        length = symbols // count + (number < symbols % count)
        network = Network(config, safetensors.numpy.load(files[0]))
        found += stream(data[at : at + size], length, network, vocab)
        at += size
    if vocab["unit"] == "byte":
        text = bytes(found)
    else:
        text = "".join(map(chr, found)).encode(errors="surrogateescape")
    assert len(text) == text_bytes
    assert hashlib.sha256(text).digest() == digest
    return text


def stream(data: bytes, length: int, network: Network, vocab: Any) -> list[int]:
    """The symbols of one stream."""
    decoder = Decoder(data)
    known = vocab["symbols"]
    has_null = known[0] is None
    alternatives = 256 if vocab["unit"] == "byte" else 1114112
    outside = 0 if has_null else len(known)
    logits = np.zeros(len(known), F)
    symbols = []
    for _ in range(length):
        highest = float(logits.max())
        frequencies = [1 + math.floor(exp(float(x) - highest) * 2.0**32) for x in logits]
        if not has_null:
            frequencies.append(1)
        token = decoder.read(frequencies)
        if token == outside:
            symbols.append(decoder.read_plain(alternatives))
            token = 0
        else:
            symbols.append(known[token])
        logits = network.feed(token)
    assert decoder.at == len(data) + 7
    return symbols


class Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.code = 0
        self.range = 2**64 - 1
        for _ in range(8):
            self.code = self.code * 256 + self.next_byte()

    def next_byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def read(self, frequencies: list[int]) -> int:
        part = self.range // sum(frequencies)
        value = self.code // part
        below = 0
        token = 0
        while below + frequencies[token] <= value:
            below += frequencies[token]
            token += 1
        self.take(part, below, frequencies[token])
        return token

    def read_plain(self, total: int) -> int:
        part = self.range // total
        value = self.code // part
        assert value < total
        self.take(part, value, 1)
        return value

    def take(self, part: int, below: int, frequency: int) -> None:
        self.code -= part * below
        self.range = part * frequency
        while self.range < 2**56:
            self.code = self.code * 256 + self.next_byte()
            self.range *= 256


@dataclass
class Matrix:
    whole: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, weight: np.ndarray) -> Matrix:
        largest = np.abs(weight).max(axis=1)
        step = np.where(largest == 0, F(1), largest) / F(127)
        whole = np.rint(weight / step[:, None]).astype(np.int64)
        return cls(whole, step / F(127))

    def product(self, h: np.ndarray) -> np.ndarray:
        a = np.trunc(h * F(127) + F(128.5)).astype(np.int64) - 128
        return (self.whole @ a).astype(F) * self.scale


class Network:
    def __init__(self, config: Any, weights: dict[str, np.ndarray]) -> None:
        self.cell = config["cell"]
        self.w = {name: value.astype(F) for name, value in weights.items()}
        self.layers = config["num_layers"]
        self.h = [np.zeros(config["hidden_size"], F) for _ in range(self.layers)]
        self.c = [np.zeros(config["hidden_size"], F) for _ in range(self.layers)]
        self.kept = {name: Matrix.of(value) for name, value in self.w.items() if value.ndim == 2}

    def feed(self, token: int) -> np.ndarray:
        for layer in range(self.layers):
            prefix = f"layers.{layer}."
            below = self.h[layer - 1] if layer else None
            x = self.w[f"{prefix}bias_ih_l0"]
            y = self.w[f"{prefix}bias_hh_l0"]
            if self.cell != "gru":
                x = x + y
            if below is None:
                x = self.input_product(token) + x
            else:
                x = x + self.kept[f"{prefix}weight_ih_l0"].product(below)
            product = self.kept[f"{prefix}weight_hh_l0"].product(self.h[layer])
            if self.cell == "gru":
                self.gru(layer, x, y + product)
            elif self.cell == "lstm":
                self.lstm(layer, x + product)
            else:
                self.h[layer] = tanh(x + product)
        return self.w["head.bias"] + self.kept["head.weight"].product(self.h[-1])

    def input_product(self, token: int) -> np.ndarray:
        weight = self.w["layers.0.weight_ih_l0"]
        if "embedding.weight" not in self.w:
            return weight[:, token]
        total = np.zeros(len(weight), F)
        for k, value in enumerate(self.w["embedding.weight"][token]):
            total = total + value * weight[:, k]
        return total

    def lstm(self, layer: int, gates: np.ndarray) -> None:
        i, f, g, o = np.split(gates, 4)
        self.c[layer] = sigmoid(f) * self.c[layer] + sigmoid(i) * tanh(g)
        self.h[layer] = sigmoid(o) * tanh(self.c[layer])

    def gru(self, layer: int, x: np.ndarray, y: np.ndarray) -> None:
        xr, xz, xn = np.split(x, 3)
        yr, yz, yn = np.split(y, 3)
        n = tanh(xn + sigmoid(xr + yr) * yn)
        self.h[layer] = n + sigmoid(xz + yz) * (self.h[layer] - n)


def tanh(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, F(-9), F(9))
    s = x * x
    p = np.full_like(x, P[0])
    q = np.full_like(x, Q[0])
    for upper, lower in zip(P[1:], Q[1:], strict=True):
        p = p * s + F(upper)
        q = q * s + F(lower)
    return x * p / q


def sigmoid(x: np.ndarray) -> np.ndarray:
    return F(0.5) * tanh(F(0.5) * x) + F(0.5)


def exp(x: float) -> float:
    if not x > -700:
        return 0.0
    k = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    v = 1 / math.factorial(12)
    for n in range(11, -1, -1):
        v = v * r + 1 / math.factorial(n)
    return v * 2.0**k
