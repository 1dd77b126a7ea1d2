"""Raw bytes to normalised text: where long documents may be cut, decoding, byte-order marks, newlines, NFC.

Every step that removes or changes bytes is recorded in an alignment, so that any token leads back to its source byte.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field

from pipeline.corpora.config import CorpusConfig

BOM = b"\xef\xbb\xbf"
_DECODE_WINDOW = 1 << 16  # text with many errors is decoded in windows, so that no error costs the whole text again

# Before an ASCII byte other than LF, and after LF, no UTF-8 sequence, CRLF pair or NFC composition crosses the cut:
# ASCII characters never compose with what stands before them, and nothing composes with LF.
_SAFE_CUT = re.compile(rb"(?<=\n)|(?=[\x00-\x09\x0b-\x7f])", re.DOTALL)
_LEAD_BYTE = re.compile(rb"[^\x80-\xbf]", re.DOTALL)
_CARRIAGE = re.compile(rb"\r\n?")
# What NFC can change: non-ASCII runs with the character before them, which a combining mark may join.
_COMPOSABLE = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")

Anchor = tuple[int, int]


class UndecodableError(ValueError):
    """Text is not UTF-8; `offset` is the first bad byte's place in what was given."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset, self.reason = offset, reason


@dataclass(frozen=True)
class Prepared:
    """Normalised text of one chunk.

    `anchors` are (text offset, source offset) pairs, ascending: from each on, the two advance together. No anchors
    means that every offset of the text is the same offset in the source (bytes may differ: a lone CR becomes LF).
    """

    text: bytes
    anchors: list[Anchor] = field(default_factory=list)


def cut_window(chunk_bytes: int) -> int:
    """How many bytes behind a fixed offset are looked at for a cut: so few that two cuts never meet."""
    return min(1 << 20, chunk_bytes // 2)


def cut_place(data: bytes, behind: bytes, window: int) -> int | None:
    """Offset of the first place in `data` that is safe to cut at; None when it ends before `window` bytes without one.

    `behind` is the byte before the data. In a full window without a safe place, text without any ASCII is cut before
    its last character that joins no other, and binary data at its last UTF-8 lead byte.
    """
    match = _SAFE_CUT.search(behind + data[:window], len(behind))
    if match and match.start() < len(behind) + len(data):
        return match.start() - len(behind)
    if len(data) < window:
        return None
    leads = [m.start() for m in _LEAD_BYTE.finditer(data, max(0, window - 1024), window)]
    alone = [at for at in leads if _stands_alone(data[at : min(at + 4, window)])]
    return alone[-1] if alone else leads[-1] if leads else window - 1


def _stands_alone(data: bytes) -> bool:
    """Whether the bytes begin with a character that never composes with what stands before it: no mark, no jamo."""
    character = data.decode("utf-8", "ignore")[:1]
    return (
        bool(character)
        and data.startswith(character.encode())
        and (
            not unicodedata.category(character).startswith("M")
            and not unicodedata.combining(character)
            and not 0x1160 <= ord(character) < 0x1200
        )
    )


def prepare(raw: bytes, config: CorpusConfig, *, starts_document: bool) -> Prepared:
    """Apply the recipe's decoding and normalisation to a chunk. Raises UndecodableError under `strict` and `skip`."""
    text, anchors = raw, [(0, 0)]
    if starts_document and text.startswith(BOM):
        text, anchors = text[len(BOM) :], [(0, len(BOM))]
    if config.decodes:
        text, anchors = _decoded(text, anchors, replace=config.decoding == "replace")
    if config.newlines == "lf" and b"\r" in text:
        text, anchors = _substitute(text, anchors, [(m.start(), m.end(), b"\n") for m in _CARRIAGE.finditer(text)])
    if config.nfc:
        text, anchors = _composed(text, anchors)
    return Prepared(text, [] if anchors == [(0, 0)] else anchors)


def source_offset(anchors: list[Anchor], offset: int) -> int:
    """The source offset of a text offset; inside a changed stretch, the offset of the stretch's start."""
    index = bisect_right(anchors, (offset, 1 << 62)) - 1
    if index < 0:
        return offset
    at, source = anchors[index]
    return source + (offset - at)


def _decoded(text: bytes, anchors: list[Anchor], *, replace: bool) -> tuple[bytes, list[Anchor]]:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        if not replace:
            raise UndecodableError(source_offset(anchors, error.start), error.reason) from None
    else:
        return text, anchors
    edits, offset, view = [], 0, memoryview(text)
    while offset < len(text):
        window = view[offset : offset + _DECODE_WINDOW]
        try:
            _, used = codecs.utf_8_decode(window, "strict", offset + len(window) == len(text))
        except UnicodeDecodeError as error:
            edits.append((offset + error.start, offset + error.end, "\ufffd".encode()))
            used = error.end
        offset += used
    return _substitute(text, anchors, edits)


def _composed(text: bytes, anchors: list[Anchor]) -> tuple[bytes, list[Anchor]]:
    decoded = text.decode()
    if unicodedata.is_normalized("NFC", decoded):
        return text, anchors
    edits, seen, offset = [], 0, 0
    for match in _COMPOSABLE.finditer(decoded):
        before = match.group()
        after = unicodedata.normalize("NFC", before)
        if after != before:
            offset += len(decoded[seen : match.start()].encode())
            length = len(before.encode())
            edits.append((offset, offset + length, after.encode()))
            offset, seen = offset + length, match.end()
    return _substitute(text, anchors, edits)


def _substitute(text: bytes, anchors: list[Anchor], edits: list[tuple[int, int, bytes]]) -> tuple[bytes, list[Anchor]]:
    """Replace [start, stop) stretches and compose the alignment: anchors of the result, towards the original source."""
    pieces, moved = [], []
    copied, length = 0, 0  # bytes of text consumed, bytes of result made
    pending = list(reversed(anchors))
    for start, stop, new in [*edits, (len(text), len(text), b"")]:
        while pending and pending[-1][0] <= start:
            at, source = pending.pop()
            moved.append((length + at - copied, source))
        pieces += [text[copied:start], new]
        length += start - copied + len(new)
        if stop == start:
            continue
        if len(new) != stop - start:
            while pending and pending[-1][0] < stop:
                pending.pop()
            # Earlier anchors inside the replaced stretch are covered by the one after it.
            moved.append((length, source_offset(anchors, stop)))
        copied = stop
    return b"".join(pieces), _deduplicated(moved)


def _deduplicated(anchors: list[Anchor]) -> list[Anchor]:
    """Drop anchors that say nothing new, and of several at one text offset keep the last."""
    kept: list[Anchor] = []
    for at, source in anchors:
        if kept and kept[-1][0] == at:
            kept.pop()
        if not kept or kept[-1][1] + at - kept[-1][0] != source:
            kept.append((at, source))
    return kept
