"""A range coder: numbers of known frequency as bytes, one text a lane, in whole numbers alone.

Martin's range coder (1979) with 64 bits of range. It divides integers and nothing else, so a
processor cannot change a byte. docs/formats.md, "Proof files", says the same for whoever writes a
reader. Shapes: W lanes; bytes are (W, capacity) when they are written, and all streams one behind
the other when they are read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.engine.compiling import compiled

# numba turns a sum of signed and unsigned numbers into a float, so everything here is uint64.
_FULL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_LOWEST = np.uint64(1 << 56)  # of a range: below, its leading byte is settled and moves out
_BYTE = np.uint64(8)
_LEADING = np.uint64(56)
_LAST = np.uint8(255)
# A division loses total / range of a range at most. The engine's totals have at most 54 bits, for a
# vocabulary of all characters; those of 256 bytes have 40, and lose less than 1 in 65,536.
# One number takes at most 7 bytes, and a symbol outside the vocabulary is two of them.
BYTES_A_SYMBOL = 14
_READ_AHEAD = 8  # bytes that the decoder holds


class Writing(NamedTuple):
    """Encoders of W lanes: where their range begins, how long it is, bytes written."""

    low: np.ndarray
    range: np.ndarray
    at: np.ndarray


class Reading(NamedTuple):
    """Decoders of W lanes: the code less where the range begins, the range, and in all streams'
    bytes the next one to read and the lane's end.
    """

    code: np.ndarray
    range: np.ndarray
    at: np.ndarray
    stop: np.ndarray


def writing(lanes: int) -> Writing:
    """Encoders that have written nothing."""
    return Writing(
        low=np.zeros(lanes, np.uint64),
        range=np.full(lanes, _FULL),
        at=np.zeros(lanes, np.int64),
    )


def reading(streams: list[bytes]) -> tuple[Reading, np.ndarray]:
    """Decoders at the beginning of the streams, and the streams' bytes one behind the other."""
    stops = np.cumsum([len(stream) for stream in streams], dtype=np.int64)
    made = Reading(
        code=np.zeros(len(streams), np.uint64),
        range=np.full(len(streams), _FULL),
        at=np.concatenate([np.zeros(1, np.int64), stops[:-1]]),
        stop=stops,
    )
    data = np.frombuffer(b"".join(streams), np.uint8)
    _fill(made, data)
    return made, data


def has_ended(made: Reading) -> bool:
    """Whether every lane has read what an encoder wrote of its symbols: no byte less, none more."""
    # The last of the eight bytes that the decoder holds is `finish`'s; the others lie behind it.
    return bool((made.at - made.stop == _READ_AHEAD - 1).all())


def is_beyond(made: Reading) -> bool:
    """Whether a lane has read more than an encoder could have written."""
    return bool((made.at - made.stop > _READ_AHEAD - 1).any())


@compiled
def encode(lane: int, below: Any, frequency: Any, total: Any, coder: Any, out: Any) -> None:
    """Write a number: `frequency` of `total`, with `below` in front of it (all uint64)."""
    part = coder.range[lane] // total
    low = coder.low[lane] + part * below
    if low < coder.low[lane]:
        _carry(out[lane], coder.at[lane])
    width = part * frequency
    while width < _LOWEST:
        out[lane, coder.at[lane]] = low >> _LEADING
        coder.at[lane] += 1
        low <<= _BYTE
        width <<= _BYTE
    coder.low[lane] = low
    coder.range[lane] = width


@compiled
def finish(lanes: int, coder: Any, out: Any) -> None:
    """Write each lane's last byte: with zeros behind it, the number lies within the range."""
    for lane in range(lanes):
        low = coder.low[lane] + (_LOWEST - np.uint64(1))
        if low < coder.low[lane]:
            _carry(out[lane], coder.at[lane])
        out[lane, coder.at[lane]] = low >> _LEADING
        coder.at[lane] += 1


@compiled
def _carry(written: Any, count: int) -> None:
    """Add one to the bytes written: a range is never beyond 1, so one of them is below 255."""
    place = count - 1
    while written[place] == _LAST:
        written[place] = 0
        place -= 1
    written[place] += np.uint8(1)


@compiled
def place_in(lane: int, total: Any, coder: Any) -> Any:
    """Where in `total` the next number lies; `total` or more in a stream that no encoder wrote."""
    return coder.code[lane] // (coder.range[lane] // total)


@compiled
def take(lane: int, below: Any, frequency: Any, total: Any, coder: Any, data: Any) -> None:
    """Read on behind the number that `place_in` has found."""
    part = coder.range[lane] // total
    code = coder.code[lane] - part * below
    width = part * frequency
    while width < _LOWEST:
        code = (code << _BYTE) | _next_byte(lane, coder, data)
        width <<= _BYTE
    coder.code[lane] = code
    coder.range[lane] = width


@compiled
def _fill(coder: Any, data: Any) -> None:
    for lane in range(len(coder.at)):
        for _ in range(_READ_AHEAD):
            coder.code[lane] = (coder.code[lane] << _BYTE) | _next_byte(lane, coder, data)


@compiled
def _next_byte(lane: int, coder: Any, data: Any) -> Any:
    """A lane's next byte; 0 behind its end."""
    at = coder.at[lane]
    coder.at[lane] += 1
    return np.uint64(data[at]) if at < coder.stop[lane] else np.uint64(0)
