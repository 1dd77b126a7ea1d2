"""Raw bytes to normalised text: decoding, byte-order marks, newlines, NFC.

Every step that removes or changes bytes is recorded in an alignment, so that any token leads back
to its source byte.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.corpora.config import CorpusConfig

BOM = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd".encode()

# Text with many errors is decoded in windows of this many bytes: an error then costs a window, and
# not the whole text, again.
_DECODE_WINDOW = 1 << 16

_CARRIAGE_RETURN = re.compile(rb"\r\n?")
# What NFC can change: non-ASCII runs with the character before them, which a combining mark may
# join. Normalising only these keeps the alignment fine: one anchor a run, not one for the text.
_COMPOSABLE = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")

# (text offset, source offset): from here on, up to the next anchor, the two advance together.
Anchor = tuple[int, int]


class UndecodableError(ValueError):
    """Text is not UTF-8; `offset` is the first bad byte's place in the chunk, as it was read."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


@dataclass(frozen=True)
class Prepared:
    """Normalised text of one chunk.

    `anchors` ascend in both offsets. No anchors means that every offset of the text is the same
    offset in the source (bytes may differ: a lone CR becomes LF).
    """

    text: bytes
    anchors: list[Anchor] = field(default_factory=list)


class _Edit(NamedTuple):
    """Bytes [start, stop) of a text become `new`."""

    start: int
    stop: int
    new: bytes


def prepare(raw: bytes, config: CorpusConfig, *, starts_document: bool) -> Prepared:
    """Apply the recipe's decoding and normalisation to a chunk.

    Raises UndecodableError under `strict` and `skip`.
    """
    text = raw
    anchors = [(0, 0)]
    if starts_document and raw.startswith(BOM):
        text = raw[len(BOM) :]
        anchors = [(0, len(BOM))]
    if config.decodes:
        text, anchors = _decoded(text, anchors, replace=config.decoding == "replace")
    if config.newlines == "lf":
        text, anchors = _with_line_feeds(text, anchors)
    if config.nfc:
        text, anchors = _composed(text, anchors)
    unmoved = anchors == [(0, 0)]
    return Prepared(text, [] if unmoved else anchors)


def source_offset(anchors: list[Anchor], offset: int) -> int:
    """The source offset of a text offset; inside a changed stretch, that of the stretch's start."""
    # The second number is above any source offset, so an anchor at `offset` itself counts too.
    index = bisect_right(anchors, (offset, 1 << 62)) - 1
    if index < 0:
        return offset
    text_start, source_start = anchors[index]
    return source_start + (offset - text_start)


def _decoded(text: bytes, anchors: list[Anchor], *, replace: bool) -> tuple[bytes, list[Anchor]]:
    """The text if it is UTF-8; with `replace`, U+FFFD for what is not, where Python puts one."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if not replace:
            raise UndecodableError(source_offset(anchors, error.start), error.reason) from None
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


def _with_line_feeds(text: bytes, anchors: list[Anchor]) -> tuple[bytes, list[Anchor]]:
    """CRLF and lone CR as LF."""
    if b"\r" not in text:
        return text, anchors
    edits = [_Edit(match.start(), match.end(), b"\n") for match in _CARRIAGE_RETURN.finditer(text)]
    return _substitute(text, anchors, edits)


def _composed(text: bytes, anchors: list[Anchor]) -> tuple[bytes, list[Anchor]]:
    """The text in NFC."""
    decoded = text.decode()
    # Nearly all text is in NFC already, and the check is quick.
    if unicodedata.is_normalized("NFC", decoded):
        return text, anchors
    edits = []
    seen = 0  # characters up to here are counted in `offset`
    offset = 0  # in bytes of UTF-8
    for match in _COMPOSABLE.finditer(decoded):
        stretch = match.group()
        composed = unicodedata.normalize("NFC", stretch)
        if composed == stretch:
            continue
        start = offset + len(decoded[seen : match.start()].encode())
        offset = start + len(stretch.encode())
        seen = match.end()
        edits.append(_Edit(start, offset, composed.encode()))
    return _substitute(text, anchors, edits)


def _substitute(
    text: bytes, anchors: list[Anchor], edits: list[_Edit]
) -> tuple[bytes, list[Anchor]]:
    """Make the edits, which ascend and do not overlap; anchors of the result lead to the source.

    `anchors` lead from `text` to the source. Those between edits move with their text; an edit that
    changes the length hides those inside it, and puts one where it ends.
    """
    pieces: list[bytes] = []
    moved: list[Anchor] = []
    consumed = 0  # bytes of `text` that are done with
    made = 0  # bytes of the result
    waiting = deque(anchors)
    end = _Edit(len(text), len(text), b"")
    for start, stop, new in [*edits, end]:
        while waiting and waiting[0][0] <= start:
            offset, source = waiting.popleft()
            moved.append((made + offset - consumed, source))
        pieces += [text[consumed:start], new]
        made += start - consumed + len(new)
        if len(new) != stop - start:
            while waiting and waiting[0][0] < stop:
                waiting.popleft()
            moved.append((made, source_offset(anchors, stop)))
        consumed = stop
    return b"".join(pieces), _deduplicated(moved)


def _deduplicated(anchors: list[Anchor]) -> list[Anchor]:
    """Drop anchors that say nothing new."""
    kept: list[Anchor] = []
    for offset, source in anchors:
        if kept:
            text_start, source_start = kept[-1]
            if source_start + (offset - text_start) == source:
                continue
        kept.append((offset, source))
    return kept
