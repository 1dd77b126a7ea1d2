"""Symbols and token numbers.

A vocabulary is the sorted symbols that occur, with an unknown token in front if there is a need.
"""

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

_LIMITS = {"byte": 0x100, "char": 0x110000}  # symbols are below


def symbols_of(text: bytes, unit: Unit) -> Symbols:
    """UTF-8 text (or any bytes, for the byte unit) as an array of symbols."""
    if unit == "byte":
        return np.frombuffer(text, np.uint8)
    # UTF-32 is code points already: one pass in C, and no list of Python integers.
    return np.frombuffer(text.decode().encode("utf-32-le"), np.uint32)


def symbol_bytes(symbol: int, unit: Unit) -> bytes:
    """The text of one symbol: the byte, or the character as UTF-8."""
    return bytes([symbol]) if unit == "byte" else chr(symbol).encode()


def count_symbols(symbols: Symbols) -> dict[int, int]:
    """How often each symbol occurs; only those that do."""
    counts = np.bincount(symbols)
    present = np.flatnonzero(counts)
    return dict(zip(present.tolist(), counts[present].tolist(), strict=True))


class Vocab:
    """Token t stands for symbols[t], a byte value or a code point; None is the unknown token.

    The unknown token is always token 0. Raises InputError for symbols that are no vocabulary.
    """

    def __init__(self, unit: Unit, symbols: Iterable[int | None]) -> None:
        self.unit: Unit = unit
        self.symbols: tuple[int | None, ...] = tuple(symbols)
        known = [symbol for symbol in self.symbols if symbol is not None]
        limit = _LIMITS[unit]
        _check(self, known, limit)
        self.has_unknown = self.symbols[0] is None
        # By symbol: its token, or -1. 8.5 MiB for characters, and no search in encoding.
        self._table = np.full(limit, -1, np.int64)
        self._table[known] = np.arange(len(self.symbols) - len(known), len(self.symbols))
        # By token: its text.
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
        for narrow in (np.uint8, np.uint16):
            if len(self) - 1 <= np.iinfo(narrow).max:
                return np.dtype(narrow)
        return np.dtype(np.uint32)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def text(self, token: int) -> bytes:
        """The bytes that a token stands for; U+FFFD for the unknown token."""
        symbol = self.symbols[token]
        return UNKNOWN_TEXT.encode() if symbol is None else symbol_bytes(symbol, self.unit)

    def missing(self, symbols: Symbols) -> list[int]:
        """The distinct symbols that have no token of their own, in ascending order."""
        present = np.unique(symbols)
        return present[self._table[present] < 0].tolist()

    def encode_symbols(self, symbols: Symbols) -> np.ndarray:
        """Tokens of symbols, in `dtype`.

        Raises InputError for a symbol outside, unless there is an unknown token.
        """
        tokens = self._table[symbols]
        if self.has_unknown:
            tokens = np.maximum(tokens, 0)
        elif tokens.size and tokens.min() < 0:
            raise InputError(
                "symbols outside the vocabulary: "
                f"{describe(self.missing(symbols), self.unit)}. Leave them out, "
                "or use a vocabulary with an unknown token (min_count above 1)."
            )
        return tokens.astype(self.dtype)

    def encode(self, text: bytes | str) -> np.ndarray:
        """Tokens of text; see encode_symbols."""
        raw = text.encode() if isinstance(text, str) else text
        return self.encode_symbols(symbols_of(raw, self.unit))

    def decode(self, tokens: Iterable[int] | np.ndarray) -> bytes:
        """The text of tokens, as bytes: raw for the byte unit, UTF-8 for the char unit."""
        return b"".join(self.texts(tokens))

    def texts(self, tokens: Iterable[int] | np.ndarray) -> list[bytes]:
        """The text of each token."""
        texts: list[bytes] = self._texts[np.asarray(tokens, dtype=np.int64)].tolist()
        return texts

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "unit": self.unit, "symbols": list(self.symbols)}

    @classmethod
    def from_json(cls, value: Any) -> Vocab:
        """The vocabulary of parsed JSON. Raises InputError for anything else."""
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            raise InputError(
                f"this is not a format {FORMAT} vocabulary; "
                "use the program's version that wrote it."
            )
        unit = value.get("unit")
        symbols = value.get("symbols")
        if unit not in ("byte", "char") or not isinstance(symbols, list):
            raise InputError("the vocabulary has no unit or symbols; fetch it again.")
        # type(), not isinstance(): true is no symbol.
        if not all(symbol is None or type(symbol) is int for symbol in symbols):
            raise InputError("the vocabulary's symbols are not numbers; fetch it again.")
        return cls(unit, symbols)


def build_vocab(counts: Mapping[int, int], unit: Unit, min_count: int) -> Vocab:
    """The symbols that occur at least `min_count` times; an unknown token takes the rest, if any.

    Without a rest there is no unknown token: the network would learn an output that never occurs.
    """
    kept = sorted(symbol for symbol, count in counts.items() if count >= min_count)
    if not kept:
        raise InputError(
            f"no symbol occurs {min_count} times in this corpus; "
            "lower --min_count or give more text."
        )
    return Vocab(unit, [None, *kept] if len(kept) < len(counts) else kept)


def describe(symbols: list[int], unit: Unit, limit: int = 8) -> str:
    """The first symbols for a message: 'é' (U+00E9), or byte 0xE9, and how many more there are."""
    if unit == "byte":
        named = [f"byte 0x{symbol:02X}" for symbol in symbols[:limit]]
    else:
        named = [f"{chr(symbol)!r} (U+{symbol:04X})" for symbol in symbols[:limit]]
    more = len(symbols) - limit
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _check(vocab: Vocab, known: list[int], limit: int) -> None:
    """Raise InputError unless `known`, and where the unknown token stands, make a vocabulary."""
    ascending = known == sorted(set(known))
    unknown_in_front = None not in vocab.symbols[1:]
    in_range = bool(known) and known[0] >= 0 and known[-1] < limit
    if not (in_range and ascending and unknown_in_front):
        raise InputError(
            f"a {vocab.unit} vocabulary must be distinct symbols below {limit} "
            f"in ascending order; found {vocab}."
        )
    if vocab.unit == "char" and any(0xD800 <= symbol < 0xE000 for symbol in known):
        raise InputError("a char vocabulary has no surrogates: they are not characters.")
