"""A table of documents is the same for any workers, goes on after a kill, and says what a score of
each document alone would say.
"""

from __future__ import annotations

import json
import math
import pickle
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.evaluation import documents_plan
from pipeline.evaluation.documents import COLUMNS, score_documents
from pipeline.evaluation.scores import lane_tasks, reading, stream
from pipeline.model.artifact import ModelArtifact, check_artifact, parse_vocab, read_artifact
from tests.registering import untrained

GOLDEN = Path(__file__).parent.parent / "golden"
MODELS = {
    "lstm": GOLDEN / "checkpoint" / "run" / "checkpoint-00000004",  # of bytes
    "gru": GOLDEN / "models" / "gru",  # of characters, with an unknown token
}


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_plan, "LEAST_BYTES", 1000)
    monkeypatch.setattr(documents_plan, "WIDTH", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Text, text with a byte-order mark, bytes that are no text, nothing, and one in a folder."""
    made = tmp_path / "source"
    (made / "below").mkdir(parents=True)
    golden = (GOLDEN / "source" / "large.code").read_bytes()
    for number in range(9):
        text = golden[100 * number : 100 * number + 300 + 70 * number]
        (made / f"{number}.code").write_bytes(text)
    (made / "marked.txt").write_bytes("\ufeffnaïve € text".encode() + golden[:200])
    (made / "binary").write_bytes(bytes(range(256)) * 3)
    (made / "below" / "empty").write_bytes(b"")
    (made / "below" / "one").write_bytes(b"i")
    return made


def far(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """As a cluster does it: tasks travel as pickles, results as JSON, in any order."""
    for index in reversed(range(len(tasks))):
        there, task = pickle.loads(pickle.dumps((function, tasks[index])))
        yield index, json.loads(json.dumps(there(task)))


class KilledError(Exception):
    pass


class Counting:
    """A runner that counts tasks, and is killed before one of a number."""

    def __init__(self, killed_at: int = -1) -> None:
        self.done = 0
        self.killed_at = killed_at

    def __call__(
        self, function: Callable[[Any], Any], tasks: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            if self.done == self.killed_at:
                raise KilledError
            self.done += 1
            yield index, function(task)


def alone(model: ModelArtifact, text: bytes, vocab: Vocab) -> np.ndarray:
    """The nats of a text's symbols as scores.py has them."""
    read = reading(text, vocab)
    results = [task.run() for task in lane_tasks(model, "fp32", read)]
    return stream(read, results, len(vocab))


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_the_scores_of_each_document_alone(
    name: str, folder: Path, tmp_path: Path
) -> None:
    model = read_artifact(str(MODELS[name]))
    vocab = parse_vocab(model.files, "")
    result = score_documents(model, [str(folder)], str(tmp_path / "out"))
    table = pq.read_table(result.url)
    assert table.schema.equals(COLUMNS)
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert table["path"].to_pylist() == paths
    assert result.rows == len(paths)
    for row in table.to_pylist():
        raw = (folder / row["path"]).read_bytes()
        text = raw.removeprefix("\ufeff".encode())
        assert row["bytes"] == len(text)
        if not text:
            assert row["nats"] == 0
            empty = ("bits_per_byte", "span", "span_offset", "span_nats", "surprise")
            assert {row[key] for key in empty} == {None}
            continue
        assert row["bits_per_byte"] == row["nats"] / math.log(2) / len(text)
        if row["path"] == "binary" and vocab.unit == "char":
            continue  # scores.py refuses what is no UTF-8
        nats = alone(model, text, vocab)
        assert row["nats"] == np.cumsum(nats)[-1]
        assert row["symbols"] == len(nats)
        assert row["unknown"] == reading(text, vocab).unknown.symbols
        window = min(32, len(nats))
        sums = np.convolve(nats, np.ones(window), "valid")
        assert row["span_nats"] == pytest.approx(sums.max() / window)
        place = int(np.argmax(sums > sums.max() - 1e-9))
        start = int(reading(text, vocab).starts[place]) + len(raw) - len(text)
        assert row["span_offset"] == start
        span = row["span"].encode()
        if row["path"] != "binary":
            assert raw[start:].startswith(span)


def test_bytes_that_are_no_text_are_unknown_to_a_model_of_characters(
    folder: Path, tmp_path: Path
) -> None:
    model = read_artifact(str(MODELS["gru"]))
    result = score_documents(model, [str(folder / "binary")], str(tmp_path / "out"))
    (row,) = pq.read_table(result.url).to_pylist()
    assert (row["bytes"], row["symbols"]) == (768, 768)
    assert row["unknown"] > 3 * 128
    assert "\\x" in row["span"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_workers_packing_and_groups_change_no_byte(
    precision: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_artifact(str(MODELS["lstm"]))
    first = score_documents(model, [str(folder)], str(tmp_path / "a"), precision=precision)
    data = Path(first.url).read_bytes()
    again = score_documents(model, [str(folder)], str(tmp_path / "b"), precision=precision, run=far)
    assert Path(again.url).read_bytes() == data
    assert again.to_json() | {"url": first.url} == first.to_json()
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(folder, ".")
    monkeypatch.setattr(documents_plan, "LEAST_BYTES", 1 << 20)  # one group
    other = score_documents(model, [str(packed)], str(tmp_path / "c"), precision=precision)
    assert Path(other.url).read_bytes() == data


def test_a_killed_job_goes_on(folder: Path, tmp_path: Path) -> None:
    model = read_artifact(str(MODELS["lstm"]))
    whole = Counting()
    expected = score_documents(model, [str(folder)], str(tmp_path / "whole"), run=whole)
    assert whole.done >= 5
    output = str(tmp_path / "out")
    killed = Counting(killed_at=3)
    with pytest.raises(KilledError):
        score_documents(model, [str(folder)], output, run=killed)
    assert not (tmp_path / "out" / "documents.parquet").exists()
    resumed = Counting()
    result = score_documents(model, [str(folder)], output, run=resumed)
    # One task reads the folder, in both.
    assert resumed.done == whole.done - 2
    assert Path(result.url).read_bytes() == Path(expected.url).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "documents.json",
        "documents.parquet",
    ]


def test_what_is_done_is_not_done_again_unless_something_changed(
    folder: Path, tmp_path: Path
) -> None:
    model = read_artifact(str(MODELS["lstm"]))
    output = str(tmp_path / "out")
    first = score_documents(model, [str(folder)], output)
    second = Counting()
    assert score_documents(model, [str(folder)], output, run=second) == first
    assert second.done == 1  # reading
    assert score_documents(model, [str(folder)], output, precision="int8").digest != first.digest
    (folder / "0.code").write_bytes(b"changed")
    third = score_documents(model, [str(folder)], output)
    assert third.sha256 != first.sha256
    Path(third.url).write_bytes(b"damaged")
    assert score_documents(model, [str(folder)], output) == third
    Path(output, "documents.json").write_bytes(b"[1]")
    assert score_documents(model, [str(folder)], output) == third


@pytest.mark.parametrize("unit", ["byte", "char"])
def test_a_corpus_has_a_row_a_document_and_split(unit: Any, texts: Path, tmp_path: Path) -> None:
    source = tmp_path / "texts"
    source.mkdir()
    for name in ("abc.py", "heapq.py", "calendar.py"):
        (source / name).write_bytes((texts / name).read_bytes())
    (source / "é.py").write_bytes("# € \u2603 ünïcode\r\n".encode() * 300)
    # Tokens that are rare become the unknown one; their text is scored as it stood there.
    build_corpus(
        CorpusConfig(
            name="mixed", source=str(source), unit=unit, newlines="lf", min_count=20, val=0.3
        ),
        str(tmp_path),
    )
    corpus = open_corpus(str(tmp_path), "mixed")
    assert corpus.vocab.has_unknown
    model = check_artifact("mixed", "1", "memory:", untrained(corpus, 8))
    found = score_documents(model, corpus, str(tmp_path / "out"), splits=("val", "train"))
    table = pq.read_table(found.url)
    keys = list(zip(table["path"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert keys == sorted(set(keys))
    assert {("é.py", "train"), ("é.py", "val")} <= set(keys)
    assert found.bytes == corpus.bytes_in("val") + corpus.bytes_in("train")
    assert found.unknown > 0
    for row in table.to_pylist():
        raw = (source / row["path"]).read_bytes()[row["span_offset"] :].replace(b"\r\n", b"\n")
        length = 32 if unit == "byte" else len(row["span"].encode())
        assert raw[:length].decode(errors="backslashreplace") == row["span"]


def test_a_document_in_pieces_has_no_span_across_them(
    corpus: Corpus, texts: Path, tmp_path: Path
) -> None:
    model = check_artifact("texts", "1", "memory:", untrained(corpus, 8))
    found = score_documents(model, corpus, str(tmp_path / "out"))
    pieces = corpus.documents()["path"].value_counts().field("counts")
    assert max(pieces.to_pylist()) > 10
    for row in pq.read_table(found.url).to_pylist():
        raw = (texts / row["path"]).read_bytes()[row["span_offset"] :]
        assert raw[:32] == row["span"].encode()


def test_without_a_document_there_is_no_table(corpus: Corpus, tmp_path: Path) -> None:
    model = check_artifact("texts", "1", "memory:", untrained(corpus, 8))
    with pytest.raises(InputError, match="no document in test of texts@"):
        score_documents(model, corpus, str(tmp_path / "out"), splits=("test",))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no document at"):
        score_documents(model, [str(tmp_path / "nothing")], str(tmp_path / "out"))


def test_the_page_names_every_column_with_its_type() -> None:
    page = (GOLDEN.parent.parent / "docs" / "formats.md").read_text()
    table = page.split("## Tables of documents")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    named = [(row[0].removeprefix("| "), row[1]) for row in rows]
    types = {"double": "float64"}
    expected = [(f.name, types.get(str(f.type), str(f.type))) for f in COLUMNS]
    assert named == expected
