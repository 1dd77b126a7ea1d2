"""Every token back to its source, every span back to its text."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.trace import Tracer

from .conftest import build

RAW = {
    "a.txt": "\ufeffVersailles \u00e9t\u00e9\r\ncafe\u0301 \U0001d11e end\r\n".encode(),
    "b.txt": "plain text, long enough to be cut by a split \u3042\u3044\r".encode() * 9,
    "c.txt": b"",
    "d.txt": "x\u0301y\r\nz \u00df".encode() * 5,
}


@pytest.mark.parametrize("unit", ["byte", "char"])
@pytest.mark.parametrize("split", ["document", "tail"])
@pytest.mark.parametrize("separator", ["", "\\n--\\n"])
@pytest.mark.parametrize("min_count", [1, 4])
@pytest.mark.parametrize("shape", [{}, {"newlines": "lf", "nfc": True}])
def test_every_token_leads_to_its_source(
    tmp_path: Path, unit: str, split: str, separator: str, min_count: int, shape: dict[str, Any]
) -> None:
    for name, raw in RAW.items():
        (tmp_path / name).write_bytes(raw)
    corpus = build(
        tmp_path / "root", tmp_path / "*.txt", unit=unit, split=split, separator=separator, min_count=min_count,
        val=0.3, test=0.2, shard_bytes=1024, **shape,
    )  # fmt: skip
    tracer = Tracer(corpus)
    found: dict[str, str | bytes] = {}
    separators = 0
    for name in ("train", "val", "test"):
        for position in range(corpus.tokens_in(name)):
            origin = tracer.origin(name, position)
            text = tracer.text(name, position, position + 1)
            if origin.offset is None:
                separators += 1
                continue
            found[origin.path] = found.get(origin.path, b"") + text  # type: ignore[operator]
            raw = RAW[origin.path][origin.offset :]
            following = (raw[1:].decode("utf-8", "ignore") or " ")[0]
            if not shape or (text in b"xyzVplan.," and not unicodedata.combining(following)):
                assert raw.startswith(text)
    for path, raw in RAW.items():
        expected = raw.removeprefix(b"\xef\xbb\xbf")
        if shape:
            text = expected.decode().replace("\r\n", "\n").replace("\r", "\n")
            expected = unicodedata.normalize("NFC", text).encode()
        assert found.get(path, b"") == expected, path
    assert separators == len(RAW) * (4 if separator else 0)
    whole = b"".join(
        tracer.text(name, 0, corpus.tokens_in(name)) for name in ("train", "val", "test")
    )
    assert len(whole) == sum(corpus.bytes_in(name) for name in ("train", "val", "test"))


def test_positions_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"abc")
    tracer = Tracer(build(tmp_path / "root", tmp_path / "t.txt", val=0.0, test=0.0))
    for position in (-1, 3):
        with pytest.raises(IndexError):
            tracer.origin("train", position)
