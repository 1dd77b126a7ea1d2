"""Raw bytes to normalised text: decoding, byte-order marks, newlines, NFC.

Every step that removes or changes bytes is recorded in an alignment, so that any token leads back
to its source byte.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.corpora.config import CorpusConfig

BOM = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd".encode()

# Text with many errors is decoded in windows of this many bytes: an error then costs a window, and
# not the whole text, again.
_DECODE_WINDOW = 1 << 16

# Where NFC can change something: non-ASCII runs with the character before them, which a combining
# mark may join.
_COMPOSABLE = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")

# Rows of (text offset, source offset): from each on, up to the next, the two advance together. As
# objects they would be hundreds of bytes a line of CRLF text, here they are 16.
Anchors = npt.NDArray[np.int64]
Packed = bytes  # the same as bytes

Column = npt.NDArray[np.int64]

START: Anchors = np.zeros((1, 2), np.int64)
NO_ANCHORS: Anchors = np.zeros((0, 2), np.int64)


class UndecodableError(ValueError):
    """Text is not UTF-8; `offset` is the first bad byte's place in the chunk, as it was read."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


@dataclass(frozen=True)
class Prepared:
    """Normalised text of one chunk.

    `anchors`, packed, ascend in both offsets. No anchors means that every offset of the text is the
    same offset in the source (bytes may differ: a lone CR becomes LF).
    """

    text: bytes
    anchors: Packed = b""


class _Edit(NamedTuple):
    """Bytes [start, stop) of a text become `new`."""

    start: int
    stop: int
    new: bytes


def packed(anchors: Anchors) -> Packed:
    return anchors.astype("<i8").tobytes()


def unpacked(anchors: Packed) -> Anchors:
    return np.frombuffer(anchors, "<i8").reshape(-1, 2)


def prepare(raw: bytes, config: CorpusConfig, *, starts_document: bool) -> Prepared:
    """Apply the recipe's decoding and normalisation to a chunk.

    Raises UndecodableError under `strict` and `skip`.
    """
    text = raw
    anchors = START
    if starts_document and raw.startswith(BOM):
        text = raw[len(BOM) :]
        anchors = np.array([(0, len(BOM))], np.int64)
    if config.decodes:
        text, anchors = _decoded(text, anchors, replace=config.decoding == "replace")
    if config.newlines == "lf":
        text, anchors = _with_line_feeds(text, anchors)
    if config.nfc:
        text, anchors = _composed(text, anchors)
    is_unmoved = np.array_equal(anchors, START)
    return Prepared(text, b"" if is_unmoved else packed(anchors))


def source_offset(anchors: Sequence[Sequence[int]] | Anchors, offset: int) -> int:
    """The source offset of a text offset; inside a changed stretch, that of the stretch's start.

    Looks at a logarithm of the anchors.
    """
    index = bisect_right(anchors, offset, key=lambda anchor: int(anchor[0])) - 1
    if index < 0:
        return offset
    text_start, source_start = anchors[index]
    return int(source_start + (offset - text_start))


def _decoded(text: bytes, anchors: Anchors, *, replace: bool) -> tuple[bytes, Anchors]:
    """The text if it is UTF-8; with `replace`, U+FFFD for what is not, where Python puts one."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if not replace:
            place = source_offset(anchors, error.start)
            raise UndecodableError(place, error.reason) from None
    else:
        return text, anchors
    edits = []
    offset = 0
    view = memoryview(text)  # slices of it copy nothing
    while offset < len(text):
        window = view[offset : offset + _DECODE_WINDOW]
        is_last = offset + len(window) == len(text)
        try:
            # A sequence that the window's end cuts off is no error, unless the text ends there.
            _, used = codecs.utf_8_decode(window, "strict", is_last)
        except UnicodeDecodeError as error:
            edits.append(_Edit(offset + error.start, offset + error.end, REPLACEMENT))
            used = error.end
        offset += used
    return _substitute(text, anchors, edits)


def _with_line_feeds(text: bytes, anchors: Anchors) -> tuple[bytes, Anchors]:
    """CRLF and lone CR as LF."""
    if b"\r" not in text:
        return text, anchors
    symbols = np.frombuffer(text, np.uint8)
    returns = np.flatnonzero(symbols[:-1] == ord("\r"))
    pairs = returns[symbols[returns + 1] == ord("\n")]
    made = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return made, _moved(anchors, pairs, pairs + 2, np.ones(len(pairs), np.int64))


def _composed(text: bytes, anchors: Anchors) -> tuple[bytes, Anchors]:
    """The text in NFC."""
    decoded = text.decode()
    # Nearly all text is in NFC already, and the check is quick.
    if unicodedata.is_normalized("NFC", decoded):
        return text, anchors
    edits = []
    seen = 0  # characters up to here are counted in `offset`
    offset = 0  # in bytes of UTF-8
    for first, old, new in _compositions(decoded):
        start = offset + len(decoded[seen:first].encode())
        offset = start + len(old.encode())
        seen = first + len(old)
        edits.append(_Edit(start, offset, new.encode()))
    return _substitute(text, anchors, edits)


def _compositions(text: str) -> Iterator[tuple[int, str, str]]:
    """What NFC changes: place, old and new characters. What it leaves alone is in none of them."""
    for match in _COMPOSABLE.finditer(text):
        stretch = match.group()
        if unicodedata.is_normalized("NFC", stretch):
            continue
        for place, old in _clusters(stretch):
            new = unicodedata.normalize("NFC", old)
            if new == old:
                continue
            # A mark may be left alone where another one composes.
            before = _common(old, new)
            behind = _common(old[before:][::-1], new[before:][::-1])
            first = match.start() + place + before
            yield first, old[before : len(old) - behind], new[before : len(new) - behind]


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _clusters(text: str) -> Iterator[tuple[int, str]]:
    """Characters with those behind them that may compose with them: their places and texts."""
    joining = _joining()
    starts = [place for place, char in enumerate(text) if not place or char not in joining]
    for start, stop in pairwise([*starts, len(text)]):
        yield start, text[start:stop]


@cache
def _joining() -> frozenset[str]:
    """All characters that join: a set, since a regular expression of so many is slow."""
    # All of them are there; to ask for all of Unicode would take 0.2 s.
    planes = chain(range(0x20000), range(0xE0000, 0xE1000))
    return frozenset(char for char in map(chr, planes) if joins(char))


def joins(character: str) -> bool:
    """Whether a character may compose with what stands before it.

    Marks do, and the vowels and finals of Hangul (conjoining jamo, U+1160 to U+11FF).
    """
    is_jamo = 0x1160 <= ord(character) < 0x1200
    return is_jamo or unicodedata.category(character).startswith("M")


def _substitute(text: bytes, anchors: Anchors, edits: list[_Edit]) -> tuple[bytes, Anchors]:
    """Make the edits, which ascend and do not overlap; anchors of the result lead to the source."""
    pieces: list[bytes] = []
    consumed = 0  # bytes of `text` that are done with
    for start, stop, new in edits:
        pieces += [text[consumed:start], new]
        consumed = stop
    pieces.append(text[consumed:])
    bounds = np.array([(start, stop, len(new)) for start, stop, new in edits], np.int64)
    starts, stops, sizes = bounds.reshape(-1, 3).T
    return b"".join(pieces), _moved(anchors, starts, stops, sizes)


def _moved(anchors: Anchors, starts: Column, stops: Column, sizes: Column) -> Anchors:
    """Anchors behind edits, which made `sizes` bytes of each [start, stop).

    `anchors` lead from the text before the edits to the source. Those between edits move with their
    text; an edit that changes the length hides those inside it, and puts one where it ends.
    """
    changes = sizes != stops - starts
    starts = starts[changes]
    stops = stops[changes]
    growth = np.cumsum(sizes[changes] - (stops - starts))
    # Edits that begin in front of an anchor; the last of them may reach over it.
    before = np.searchsorted(starts, anchors[:, 0])
    last = np.concatenate(([0], stops))[before]
    is_hidden = anchors[:, 0] < last
    shift = np.concatenate(([0], growth))[before]
    between = np.column_stack((anchors[:, 0] + shift, anchors[:, 1]))[~is_hidden]
    ends = np.column_stack((stops + growth, _source_offsets(anchors, stops)))
    both = np.concatenate((between, ends))
    return _deduplicated(both[np.argsort(both[:, 0], kind="stable")])


def _source_offsets(anchors: Anchors, offsets: Column) -> Column:
    """source_offset of many at once; there is an anchor at 0."""
    index = np.searchsorted(anchors[:, 0], offsets, side="right") - 1
    return anchors[index, 1] + (offsets - anchors[index, 0])


def _deduplicated(anchors: Anchors) -> Anchors:
    """Drop anchors that say nothing new."""
    shift = anchors[:, 1] - anchors[:, 0]
    is_new = np.concatenate(([True], shift[1:] != shift[:-1]))
    return anchors[is_new]
