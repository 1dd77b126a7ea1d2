"""What pages are put together from: their scripts and styles, data that stays data, and a policy
that lets nothing else in.

Texts and names come from anywhere. As HTML they are escaped; as data they stand in blocks that
cannot end early, and scripts put them into the page as text nodes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

Rows = Sequence[tuple[str, str]]

_MARK = re.compile(r"\{\{(\w+)\}\}")
# Control characters, and those that turn the order of letters round: shown as U+FFFD.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def source(*names: str) -> str:
    """The files of script/ of these names, one behind the other."""
    folder = resources.files("pipeline.explaining").joinpath("script")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with its {{marks}} replaced, each once: a mark within a part stays as it is."""
    return _MARK.sub(lambda mark: parts[mark[1]], template)


def escaped(text: str) -> str:
    """Text as HTML. A carriage return ends a line, as it does in files of old Macs."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return html.escape(_CONTROLS.sub("\ufffd", lines))


def table_rows(rows: Rows) -> str:
    """Rows of a name and a value as a table's HTML; those without a value are left out."""
    lines = [
        f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(value)}</td></tr>'
        for name, value in rows
        if value
    ]
    return "\n".join(lines)


def json_block(name: str, value: Any) -> str:
    """JSON that a script reads from the element `name`."""
    # ASCII alone, so that U+2028 and lone surrogates are escapes; without "<" no tag can end it.
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def bytes_block(name: str, data: bytes) -> str:
    """Bytes that script/data.js unpacks from the element `name`: base64 of zlib."""
    text = base64.b64encode(zlib.compress(data, 6)).decode()
    return f'<script type="application/octet-stream" id="{name}">{text}</script>'


def text_block(name: str, text: str) -> str:
    """A script that a page gives to its worker, in the element `name`."""
    _refuse_end(text)
    return f'<script type="text/plain" id="{name}">{text}</script>'


def script_block(text: str) -> str:
    _refuse_end(text)
    return f"<script>{text}</script>"


def style_block(text: str) -> str:
    return f"<style>{text}</style>"


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy of a page with one script and one style, known by their digests,
    and workers of its own.
    """
    return (
        f"default-src 'none'; script-src {_digest(script)} blob:; style-src {_digest(style)}; "
        "worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def joined_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, list[list[Any]]]:
    """Arrays as one run of bytes, and their places: [name, type, offset, length] each.

    Types are "f4" and "i1"; arraysOf in script/data.js is the way back.
    """
    data = bytearray()
    places: list[list[Any]] = []
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        places.append([name, little.dtype.str[1:], len(data), little.size])
        data += little.tobytes()
        data += bytes(-len(data) % 4)  # a Float32Array begins at a multiple of four
    return bytes(data), places


def _digest(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _refuse_end(text: str) -> None:
    """A script of our own that held this would end its element."""
    assert "</script" not in text.lower()
    assert "<!--" not in text
