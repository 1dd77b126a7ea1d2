"""Every token back to its source, every span back to its text."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora import shards
from pipeline.corpora.manifest import Corpus
from pipeline.corpora.trace import Origin, Tracer

from .conftest import build

SPLITS = ("train", "val", "test")
# Two blocks of characters and three of bytes, with everything that normalisation changes.
LONG = "".join(f"{n} cafe\u0301 \u3042 na\u00efve\r\n" for n in range(250))
RAW = {
    "long.txt": LONG.encode(),
    "a.txt": "\ufeffVersailles \u00e9t\u00e9\r\ncafe\u0301 \U0001d11e end\r\n".encode(),
    "b.txt": "plain text, long enough to be cut by a split \u3042\u3044\r".encode() * 9,
    "c.txt": b"",
    "d.txt": "x\u0301y\r\nz \u00df".encode() * 5,
}


def normalised(raw: bytes, shape: dict[str, Any]) -> bytes:
    text = raw.removeprefix(b"\xef\xbb\xbf")
    if shape:
        lines = text.decode().replace("\r\n", "\n").replace("\r", "\n")
        text = unicodedata.normalize("NFC", lines).encode()
    return text


def origins(tracer: Tracer) -> list[tuple[Origin, bytes]]:
    """Origin and text of every token, split by split."""
    return [
        (tracer.origin(split, position), tracer.text(split, position, position + 1))
        for split in SPLITS
        for position in range(tracer.corpus.tokens_in(split))
    ]


LINE = "\\n--\\n"
LF = {"newlines": "lf", "nfc": True}
# Every two of these choices meet in one of the cases: all 48 together take four times as long.
CASES: list[tuple[str, str, str, int, dict[str, Any]]] = [
    ("byte", "block", "", 1, {}),
    ("byte", "document", LINE, 4, LF),
    ("char", "tail", "", 1, LF),
    ("char", "block", LINE, 4, {}),
    ("byte", "tail", "", 4, {}),
    ("char", "document", "", 1, {}),
    ("byte", "block", LINE, 1, LF),
    ("byte", "tail", LINE, 1, {}),
    ("char", "interleaved", LINE, 4, LF),
    ("byte", "interleaved", LINE, 1, {}),
]


@pytest.mark.parametrize(("unit", "split", "separator", "min_count", "shape"), CASES)
def test_every_token_leads_to_its_source(
    tmp_path: Path, unit: str, split: str, separator: str, min_count: int, shape: dict[str, Any]
) -> None:
    for name, raw in RAW.items():
        (tmp_path / name).write_bytes(raw)
    settings = {"unit": unit, "split": split, "separator": separator, "min_count": min_count}
    corpus = build(
        tmp_path / "root",
        tmp_path / "*.txt",
        val=0.3,
        test=0.2,
        shard_bytes=1024,
        streams=7,
        stream_seq_len=11,
        **settings,
        **shape,
    )
    tracer = Tracer(corpus)
    for path, raw in RAW.items():
        assert tracer.document(path.encode()) == normalised(raw, shape)
    texts: dict[str, bytes] = {}
    places: dict[str, list[tuple[int, bytes]]] = {}
    separators: Counter[str] = Counter()
    for origin, text in origins(tracer):
        if origin.offset is None:
            separators[origin.path] += 1
            continue
        places.setdefault(origin.path, []).append((origin.offset, text))
        raw = RAW[origin.path][origin.offset :]
        following = (raw[1:].decode("utf-8", "ignore") or " ")[0]
        if not shape or (text in b"xyzVplan.," and not unicodedata.combining(following)):
            assert raw.startswith(text)
    # Put back in the order of their sources; equal offsets are bytes of one stretch, in order.
    for path, own in places.items():
        own.sort(key=lambda pair: pair[0])
        texts[path] = b"".join(text for _, text in own)
    for path, raw in RAW.items():
        assert texts.get(path, b"") == normalised(raw, shape), path
    assert separators == (dict.fromkeys(RAW, 4) if separator else {})
    whole = b"".join(tracer.text(name, 0, corpus.tokens_in(name)) for name in SPLITS)
    assert len(whole) == sum(corpus.bytes_in(name) for name in SPLITS)


def test_a_span_is_of_the_documents_that_it_begins_in_and_that_begin_in_it(
    tmp_path: Path,
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text(f"{name}-text")
    corpus = build(tmp_path / "root", tmp_path / "*.txt", val=0.0, test=0.0, separator="")
    tracer = Tracer(corpus)
    first, second, third = (part.path.decode() for part in tracer.parts("train"))
    assert tracer.origins("train", 2, 6) == [Origin(first, 2)]
    assert tracer.origins("train", 2, 7) == [Origin(first, 2), Origin(second, 0)]
    assert tracer.origins("train", 6, 7) == [Origin(second, 0)]
    assert tracer.origins("train", 5, 18) == [Origin(first, 5), Origin(second, 0), Origin(third, 0)]


@pytest.mark.parametrize("min_count", [1, 3])
@pytest.mark.parametrize("unit", ["byte", "char"])
def test_shards_and_splits_make_no_difference(tmp_path: Path, unit: str, min_count: int) -> None:
    """Characters of one to four bytes, known and unknown, over many shards and three splits."""
    text = "".join(chr(0x41 + n % 50) + "é€𝄞"[n % 3] * (n % 7 == 0) for n in range(4000))
    text += "".join(chr(0x4E00 + n) for n in range(40))  # each once: unknown where rare ones are
    raw = text.encode()
    (tmp_path / "t.txt").write_bytes(raw)
    corpus = build(
        tmp_path / "root", tmp_path / "t.txt", unit=unit, min_count=min_count, shard_bytes=1024,
        train=3000, val=1030, test="rest", chunk_bytes=1024,
    )  # fmt: skip
    assert len(corpus.manifest.splits["train"].shards) > 2
    assert len(corpus.manifest.splits["val"].shards) == 2
    tracer = Tracer(corpus)
    place = 0
    for origin, each in origins(tracer):
        assert origin == Origin("t.txt", place)
        assert raw[place : place + len(each)] == each
        place += len(each)
    assert place == len(raw)
    # Spans that begin and end in the middle of shards, and at their ends.
    train = raw.decode()[:3000].encode() if unit == "char" else raw[:3000]
    tokens = train.decode() if unit == "char" else train
    assert tracer.origins("train", 7, 9) == [tracer.origin("train", 7)]
    for start, stop in ((0, 0), (0, 3000), (1000, 1100), (1023, 1025), (1024, 2048), (2999, 3000)):
        span = tokens[start:stop]
        assert tracer.text("train", start, stop) == (
            span.encode() if isinstance(span, str) else span
        )


def cut(tmp_path: Path, separator: str, **shares: Any) -> Tracer:
    """Documents a ('aé', three bytes), b (empty) and c ('€x', four bytes), in order of path."""
    for name, text in {"a": "aé", "b": "", "c": "€x"}.items():
        (tmp_path / f"{name}.txt").write_bytes(text.encode())
    settings = {"unit": "char", "split": "tail", "order": "path", "separator": separator}
    return Tracer(build(tmp_path / "root", tmp_path / "*.txt", **settings, **shares))


def test_a_separator_belongs_to_the_document_before_it(tmp_path: Path) -> None:
    # a é | | | € x |  with the cuts behind the first separator and behind the €.
    tracer = cut(tmp_path, "|", train=3, val=3, test="rest")
    assert [(origin.path, origin.offset, text.decode()) for origin, text in origins(tracer)] == [
        ("a.txt", 0, "a"),
        ("a.txt", 1, "é"),
        ("a.txt", None, "|"),
        ("b.txt", None, "|"),
        ("c.txt", 0, "€"),
        ("c.txt", 3, "x"),
        ("c.txt", None, "|"),
    ]


def test_a_separator_may_stand_at_the_head_of_a_split(tmp_path: Path) -> None:
    # a é | | € x |  with the cuts behind é, so that a separator is first, and in front of the last.
    tracer = cut(tmp_path, "|", train=2, val=4, test="rest")
    assert tracer.origin("val", 0) == Origin("a.txt", None)
    assert tracer.origin("val", 1) == Origin("b.txt", None)
    assert tracer.origin("val", 2) == Origin("c.txt", 0)
    assert tracer.origin("test", 0) == Origin("c.txt", None)


def test_a_document_may_begin_in_an_earlier_split(tmp_path: Path) -> None:
    tracer = cut(tmp_path, "", train=1, val=2, test="rest")
    assert [(origin.path, origin.offset) for origin, _ in origins(tracer)] == [
        ("a.txt", 0),
        ("a.txt", 1),
        ("c.txt", 0),
        ("c.txt", 3),
    ]


def test_a_document_may_be_in_all_three_splits(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("é€𝄞axé€𝄞".encode())
    shares = {"train": 2, "val": 2, "test": "rest"}
    tracer = Tracer(build(tmp_path / "root", tmp_path / "t.txt", unit="char", **shares))
    assert [origin.offset for origin, _ in origins(tracer)] == [0, 2, 5, 9, 10, 11, 13, 16]


def test_positions_outside_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"abc")
    tracer = Tracer(build(tmp_path / "root", tmp_path / "t.txt", val=0.0, test=0.0))
    for position in (-1, 3):
        with pytest.raises(IndexError, match=rf"^token {position} of 3 in train$"):
            tracer.origin("train", position)
    with pytest.raises(IndexError, match="token 0 of 0 in val"):
        tracer.origin("val", 0)
    with pytest.raises(IndexError, match=r"tokens \[2, 4\) of 3"):
        tracer.text("train", 2, 4)
    assert tracer.origin("train", 2) == Origin("t.txt", 2)


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a\udcff").write_bytes(b"abc")
    tracer = Tracer(build(tmp_path / "root", tmp_path / "docs", separator="|", val=0.0, test=0.0))
    assert tracer.origin("train", 1) == Origin("a\udcff", 1)
    assert tracer.origin("train", 3) == Origin("a\udcff", None)


def test_only_files_of_unknown_symbols_that_overlap_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rare symbol in the first, the second and the fourth of four shards.
    text = bytearray(b"x" * 4096)
    for place, symbol in ((1023, b"a"), (1024, b"b"), (4095, b"c")):
        text[place : place + 1] = symbol
    (tmp_path / "t.txt").write_bytes(text)
    corpus: Corpus = build(
        tmp_path / "root", tmp_path / "t.txt", min_count=2, shard_bytes=1024, val=0.0, test=0.0
    )
    tracer = Tracer(corpus)
    opened = []
    real = shards.open_unknown

    def open_unknown(path: str) -> Any:
        opened.append(Path(path).name[:11])
        return real(path)

    monkeypatch.setattr(shards, "open_unknown", open_unknown)
    for start, stop, numbers in (
        (0, 1023, [0]),
        (0, 1024, [0]),
        (1024, 1025, [1]),
        (1023, 1025, [0, 1]),
        (2048, 3072, []),
        (4095, 4096, [3]),
        (0, 4096, [0, 1, 3]),
    ):
        opened.clear()
        assert tracer.text("train", start, stop) == text[start:stop]
        assert opened == [f"train-0000{number}" for number in numbers]


def test_a_call_looks_at_few_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (tmp_path / f"{number:03}.txt").write_bytes(b"%03d\r\n\r\n" % number)
    corpus = build(tmp_path / "root", tmp_path / "*.txt", newlines="lf", order="path", val=0.0)
    tracer = Tracer(corpus)
    looked_at: list[int] = []

    class Counted(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            looked_at.append(index)
            return super().__getitem__(index)

        def __iter__(self) -> Any:
            raise AssertionError("all parts are looked at")

    for split, parts in tracer._parts.items():
        tracer._parts[split] = Counted(parts)
    number = len(tracer._parts["train"]) // 2
    part = tracer._parts["train"][number]
    assert tracer.origin("train", part.offset + 4) == Origin(part.path.decode(), 5)
    assert tracer._last_before("test").split == "train"
    assert len(looked_at) < 20
