"""Where a document's text is divided into blocks: places found in staging, chosen in the layout.

Whether there is a cut at a place, and where a block begins, follows from the text before it and the
character behind it. So text that is appended to a document moves nothing that stands before it.
"""

from __future__ import annotations

import re

import numpy as np

from pipeline.corpora.cutting import stands_alone
from pipeline.corpora.documents import Document

CUT_BYTES = 2 << 10  # a place to cut is noted near every multiple of this in a chunk's text
_LOOK_AHEAD = 1 << 10  # bytes behind the multiple in which a line feed is looked for
_MARKS = 512  # bytes behind those in which a character that stands alone is; so cuts never meet

_LEAD_BYTE = re.compile(rb"[^\x80-\xbf]", re.DOTALL)
_LONGEST_CHARACTER = 4  # bytes of UTF-8


def packed_cuts(text: bytes, tokens: int) -> bytes:
    """The safe cuts of a chunk's text as (byte, token) pairs, little-endian int64, ascending.

    `tokens` are those of the whole text: characters when they are fewer than its bytes.
    """
    cuts = safe_cuts(text)
    places = cuts
    if tokens != len(text):
        places = []
        counted = 0
        start = 0
        for cut in cuts:
            counted += len(text[start:cut].decode())
            places.append(counted)
            start = cut
    return np.array([cuts, places], "<i8").T.tobytes()


def safe_cuts(text: bytes) -> list[int]:
    """Byte offsets in a chunk's text, one near each multiple of CUT_BYTES, where a block may begin.

    Behind the first line feed within 1 KiB of the multiple, else before the first character behind
    that which joins none in front of it. So no cut lies in a UTF-8 sequence, a CRLF or an NFC
    composition.
    """
    cuts = []
    for multiple in range(CUT_BYTES, len(text), CUT_BYTES):
        limit = multiple + _LOOK_AHEAD
        # A line feed just in front of the multiple makes the multiple itself a safe place.
        line_feed = text.find(b"\n", multiple - 1, limit)
        cut = line_feed + 1 if line_feed >= 0 else _cut_in_a_line(text, limit)
        # Only the last multiple can be without a cut: the text ends while one is looked for.
        if cut < len(text):
            cuts.append(cut)
    return cuts


def block_starts(document: Document, block_bytes: int) -> list[int]:
    """The first token of each block of a document: at the first cut behind each multiple of
    `block_bytes` of its text.
    """
    starts = [0]
    if document.text_bytes <= block_bytes:
        return starts
    multiple = 0  # the last one behind which a block begins
    text_start = 0
    token_start = 0
    for chunk in document.chunks:
        # A chunk begins at a safe place itself. One without text has no place for a block.
        places = [[0, 0], *chunk.places.tolist()] if chunk.bytes else []
        for byte, token in places:
            reached = (text_start + byte) // block_bytes
            if reached > multiple:
                multiple = reached
                starts.append(token_start + token)
        text_start += chunk.bytes
        token_start += chunk.tokens
    return starts


def _cut_in_a_line(text: bytes, limit: int) -> int:
    """The safe cut at or behind a place that no line feed is near; the text's end when it ends
    before there is one.
    """
    end = limit + _MARKS
    for lead in _LEAD_BYTE.finditer(text, limit, end):
        place = lead.start()
        # A line feed may be the second half of a CRLF.
        if text[place] != ord("\n") and stands_alone(text[place : place + _LONGEST_CHARACTER]):
            return place
    # Nothing but marks, or of bytes that are no text: there is no composition to be kept.
    some_lead = _LEAD_BYTE.search(text, end, end + _LONGEST_CHARACTER)
    if some_lead:
        return some_lead.start()
    # Characters end within four bytes, so that these are none, unless the text ends here.
    return end if end + _LONGEST_CHARACTER <= len(text) else len(text)
