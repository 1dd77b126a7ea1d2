"""Where long documents are cut: the same places for a file, a range of one, and a stream.

Cuts lie near multiples of `chunk_bytes`, at the first safe place behind each. So every chunk can be
decoded and normalised alone, and a document's digest, which is made of its chunks', is the same
however the document was packed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

from pipeline.corpora.text import joins

MAX_WINDOW = 1 << 20
_LOOK_BACK = 1024  # bytes at the window's end that are searched when no place in it is safe

# Before an ASCII byte other than LF, and after LF, no UTF-8 sequence, CRLF pair or NFC composition
# crosses the cut: ASCII characters never compose with what stands before them, and nothing composes
# with LF.
_SAFE_CUT = re.compile(rb"(?<=\n)|(?=[\x00-\x09\x0b-\x7f])", re.DOTALL)
_LEAD_BYTE = re.compile(rb"[^\x80-\xbf]", re.DOTALL)

# Chunks of one document in order: the offset in the source, and the bytes.
Chunks = Iterator[tuple[int, bytes]]


class Readable(Protocol):
    """What a stream must offer to be cut."""

    def read(self, size: int, /) -> bytes: ...


def stream_chunks(stream: Readable, chunk_bytes: int) -> Chunks:
    """Cut a stream near multiples of `chunk_bytes`; an empty document is one empty chunk."""
    window = cut_window(chunk_bytes)
    held = b""  # what is read and not yet given out
    start = 0  # where `held` begins in the document
    boundary = chunk_bytes  # the multiple of chunk_bytes that the next cut belongs to
    ended = False
    while True:
        target = boundary - start
        if not ended:
            wanted = target + window - len(held)
            more = _read_all(stream, wanted)
            ended = len(more) < wanted
            held += more
        place = None
        if target < len(held):
            place = cut_place(held[target:], held[target - 1 : target], window)
        if place is None:
            assert ended, "cut_place finds a place in a full window"
            yield start, held
            return
        cut = target + place
        yield start, held[:cut]
        held = held[cut:]
        start += cut
        boundary += chunk_bytes


def range_chunks(
    read: Callable[[int, int], bytes], size: int, start: int, stop: int, chunk_bytes: int
) -> Chunks:
    """The chunk that belongs to bytes [start, stop) of a file of `size` bytes, if any does.

    It reaches from the cut at or behind `start` to the cut at or behind `stop`: so ranges that meet
    read no byte twice, and none is lost. `read(low, high)` gives those bytes of the file.
    """
    window = cut_window(chunk_bytes)
    # The byte in front of `start` tells whether `start` itself is a safe place.
    low = max(0, start - 1)
    data = read(low, min(size, stop + window))
    first = _cut_at_or_behind(data, start - low, window) if start else 0
    last = _cut_at_or_behind(data, stop - low, window) if stop < size else len(data)
    # Only the first range may be empty: an empty file is one empty chunk.
    if first < last or start == 0:
        yield low + first, data[first:last]


def cut_window(chunk_bytes: int) -> int:
    """How many bytes behind a multiple of `chunk_bytes` are searched for a cut.

    At most half a chunk, so that two cuts never meet.
    """
    return min(MAX_WINDOW, chunk_bytes // 2)


def cut_place(data: bytes, behind: bytes, window: int) -> int | None:
    """Offset of the first place in `data` that is safe to cut at.

    `behind` is the byte before the data. None when the document ends before `window` bytes without
    a safe place: what is left then belongs to the chunk before. A full window is always cut.
    """
    match = _SAFE_CUT.search(behind + data[:window], len(behind))
    # After a final LF there is a match, but no byte that a chunk could begin with.
    if match and match.start() < len(behind) + len(data):
        return match.start() - len(behind)
    if len(data) < window:
        return None
    return _forced_cut(data, window)


def _forced_cut(data: bytes, window: int) -> int:
    """Where to cut a full window without a safe place: text without ASCII, or binary data.

    Before the last character that joins no other; else at the last UTF-8 lead byte; else before the
    last byte. The first keeps NFC exact, the second UTF-8 valid, the third is for bytes that are
    not text at all.
    """
    first = max(0, window - _LOOK_BACK)
    leads = [match.start() for match in _LEAD_BYTE.finditer(data, first, window)]
    for lead in reversed(leads):
        if stands_alone(data[lead : min(lead + 4, window)]):
            return lead
    return leads[-1] if leads else window - 1


def stands_alone(data: bytes) -> bool:
    """Whether the bytes begin with a character that never composes with what stands before it."""
    character = data.decode("utf-8", "ignore")[:1]
    # Decoding skips over a broken sequence; then the character does not stand at the beginning.
    if not character or not data.startswith(character.encode()):
        return False
    return not joins(character)


def _read_all(stream: Readable, wanted: int) -> bytes:
    """The next `wanted` bytes, or all that are left: one read may give less than is asked for."""
    pieces = []
    while wanted > 0:
        piece = stream.read(wanted)
        if not piece:
            break
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces)


def _cut_at_or_behind(data: bytes, offset: int, window: int) -> int:
    """The cut in `data` at or behind `offset`, which is above 0.

    The data's end when the document ends before there is one.
    """
    place = cut_place(data[offset : offset + window], data[offset - 1 : offset], window)
    return len(data) if place is None else offset + place
