"""Symbols and token numbers: a vocabulary is the sorted symbols that occur, with an unknown token in front if asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from pipeline.errors import InputError

FORMAT = 1
UNKNOWN_TEXT = "\ufffd"  # how an unknown token is written; never sampled

Unit = Literal["byte", "char"]
Symbols = np.ndarray  # uint8 byte values or uint32 code points


def symbols_of(text: bytes, unit: Unit) -> Symbols:
    """UTF-8 text (or any bytes, for the byte unit) as an array of symbols: uint8 bytes or uint32 code points."""
    if unit == "byte":
        return np.frombuffer(text, np.uint8)
    return np.frombuffer(text.decode().encode("utf-32-le"), np.uint32)


def count_symbols(symbols: Symbols) -> dict[int, int]:
    """How often each symbol occurs; only those that do."""
    counts = np.bincount(symbols, minlength=256)
    found = np.flatnonzero(counts)
    return dict(zip(found.tolist(), counts[found].tolist(), strict=True))


class Vocab:
    """Token t stands for symbols[t], a byte value or a code point; None is the unknown token, always token 0."""

    def __init__(self, unit: Unit, symbols: Iterable[int | None]) -> None:
        self.unit: Unit = unit
        self.symbols: tuple[int | None, ...] = tuple(symbols)
        known = [symbol for symbol in self.symbols if symbol is not None]
        limit = 256 if unit == "byte" else 0x110000
        if not known or None in self.symbols[1:] or known != sorted(set(known)) or not 0 <= known[0] <= known[-1] < limit:
            raise InputError(f"a {unit} vocabulary must be distinct symbols below {limit} in ascending order; found {self}.")
        if unit == "char" and any(0xD800 <= symbol < 0xE000 for symbol in known):
            raise InputError("a char vocabulary has no surrogates: they are not characters.")
        self.has_unknown = self.symbols[0] is None
        self._table = np.full(limit, -1, np.int64)
        self._table[known] = np.arange(len(self.symbols) - len(known), len(self.symbols))
        self._texts = np.empty(len(self.symbols), object)
        self._texts[:] = [self.text(token) for token in range(len(self.symbols))]

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and (self.unit, self.symbols) == (other.unit, other.symbols)

    def __hash__(self) -> int:
        return hash((self.unit, self.symbols))

    def __repr__(self) -> str:
        return f"Vocab({self.unit}, {len(self.symbols)} symbols)"

    @property
    def dtype(self) -> np.dtype:
        """The narrowest unsigned type that holds every token."""
        return np.dtype(np.uint8 if len(self) <= 1 << 8 else np.uint16 if len(self) <= 1 << 16 else np.uint32)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def text(self, token: int) -> bytes:
        """The bytes that a token stands for; U+FFFD for the unknown token."""
        symbol = self.symbols[token]
        if symbol is None:
            return UNKNOWN_TEXT.encode()
        return bytes([symbol]) if self.unit == "byte" else chr(symbol).encode()

    def missing(self, symbols: Symbols) -> list[int]:
        """The distinct symbols that have no token of their own."""
        present = np.unique(symbols)
        return present[self._table[present] < 0].tolist()

    def encode_symbols(self, symbols: Symbols) -> np.ndarray:
        """Tokens of symbols, in `dtype`. Raises InputError for a symbol outside, unless there is an unknown token."""
        tokens = self._table[symbols]
        if self.has_unknown:
            tokens = np.maximum(tokens, 0)
        elif tokens.size and tokens.min() < 0:
            raise InputError(
                f"symbols outside the vocabulary: {describe(self.missing(symbols), self.unit)}. "
                "Leave them out, or use a vocabulary with an unknown token (min_count above 1)."
            )
        return tokens.astype(self.dtype)

    def encode(self, text: bytes | str) -> np.ndarray:
        return self.encode_symbols(symbols_of(text.encode() if isinstance(text, str) else text, self.unit))

    def decode(self, tokens: Iterable[int] | np.ndarray) -> bytes:
        """The text of tokens, as bytes: raw for the byte unit, UTF-8 for the char unit."""
        return b"".join(self.texts(tokens))

    def texts(self, tokens: Iterable[int] | np.ndarray) -> list[bytes]:
        """The text of each token."""
        found: list[bytes] = self._texts[np.asarray(tokens, dtype=np.int64)].tolist()
        return found

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "unit": self.unit, "symbols": list(self.symbols)}

    @classmethod
    def from_json(cls, value: Any) -> Vocab:
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            raise InputError(f"this is not a format {FORMAT} vocabulary; use the program's version that wrote it.")
        if value.get("unit") not in ("byte", "char") or not isinstance(value.get("symbols"), list):
            raise InputError("the vocabulary has no unit or symbols; fetch it again.")
        if not all(symbol is None or type(symbol) is int for symbol in value["symbols"]):
            raise InputError("the vocabulary's symbols are not numbers; fetch it again.")
        return cls(value["unit"], value["symbols"])


def build_vocab(counts: Mapping[int, int], unit: Unit, min_count: int) -> Vocab:
    """The symbols that occur at least `min_count` times; an unknown token takes the rest if there is any."""
    kept = sorted(symbol for symbol, count in counts.items() if count >= min_count)
    if not kept:
        raise InputError(f"no symbol occurs {min_count} times in this corpus; lower --min_count or give more text.")
    return Vocab(unit, [None, *kept] if len(kept) < len(counts) else kept)


def describe(symbols: list[int], unit: Unit, most: int = 8) -> str:
    """Symbols for a message: 'é' (U+00E9), or byte 0xE9."""
    shown = [f"byte 0x{s:02X}" if unit == "byte" else f"{chr(s)!r} (U+{s:04X})" for s in symbols[:most]]
    return ", ".join(shown) + (f" and {len(symbols) - most} more" if len(symbols) > most else "")
