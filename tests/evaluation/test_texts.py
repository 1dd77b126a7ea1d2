"""Texts to score: true bytes, with where they are from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.corpora.trace import Tracer
from pipeline.errors import InputError
from pipeline.evaluation import texts as module
from pipeline.evaluation.texts import split_rule, text_of_split, text_of_url, training_text


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of characters whose rare ones are unknown tokens."""
    folder = tmp_path_factory.mktemp("rare")
    source = folder / "source"
    source.mkdir()
    for number in range(40):
        text = f"na\u00efve text number {number}, \u20ac \U0001f600 {chr(0x4E00 + number)}\n" * 20
        (source / f"{number}.txt").write_text(text)
    config = CorpusConfig(
        name="rare", source=str(source), unit="char", min_count=100, val=0.3, test=0.0
    )
    build_corpus(config, str(folder))
    return open_corpus(str(folder), "rare")


def test_a_split_is_its_true_bytes(corpus: Corpus) -> None:
    text = text_of_split(corpus, "val")
    tokens = corpus.open_split("val")
    assert text.data == corpus.vocab.decode(tokens.read(0, len(tokens)))
    assert text.origin.bytes == corpus.bytes_in("val") == len(text.data)
    assert text.origin.sha256 == hashlib.sha256(text.data).hexdigest()
    assert text.origin.source == f"val of texts@{corpus.version}"


def test_what_unknown_tokens_stand_for_is_put_back(rare: Corpus) -> None:
    assert rare.vocab.has_unknown
    text = text_of_split(rare, "val")
    assert text.data == Tracer(rare).text("val", 0, rare.tokens_in("val"))
    assert "\ufffd".encode() not in text.data
    assert len(text.data) == rare.bytes_in("val")


def test_a_corpus_of_characters_without_unknown_ones(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("na\u00efve \u20ac \U0001f600\n" * 500)
    root = str(tmp_path / "root")
    build_corpus(CorpusConfig(name="a", source=str(source), unit="char", val=0.3, test=0.0), root)
    corpus = open_corpus(root, "a")
    whole = text_of_split(corpus, "val").data
    tokens = corpus.open_split("val")
    assert whole == corpus.vocab.decode(tokens.read(0, len(tokens)))


@pytest.mark.parametrize("limit", [1, 7, 8, 100])
def test_a_cut_leaves_whole_characters(rare: Corpus, limit: int) -> None:
    cut = text_of_split(rare, "val", limit).data
    whole = text_of_split(rare, "val").data
    assert whole.startswith(cut)
    assert limit - 3 <= len(cut) <= limit
    assert cut.decode()


def test_training_text_is_the_end_of_the_train_split(corpus: Corpus) -> None:
    tokens = corpus.open_split("train")
    whole = corpus.vocab.decode(tokens.read(0, len(tokens)))
    assert training_text(corpus, 1000) == whole[-1000:]
    assert training_text(corpus, 1 << 30) == whole
    assert training_text(corpus, 0) == b""


def test_a_split_says_by_which_rule_it_was_held_out(corpus: Corpus) -> None:
    rule = text_of_split(corpus, "val").origin.rule
    assert rule.startswith(f"{corpus.manifest.rule.split}: ")
    assert f"{corpus.manifest.rule.block_bytes:,} bytes" in rule
    assert split_rule(corpus, "train") == "train: models have learnt this text"


def test_a_url_is_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\xff\r\n\x00text")
    text = text_of_url(str(path))
    assert text.data == b"\xff\r\n\x00text"
    assert text.origin.source == str(path)
    assert text.origin.rule.startswith("none: ")
    assert text_of_url(str(path), 3).data == b"\xff\r\n"
    assert text_of_url(str(path), 100).data == text.data
    assert text.origin.to_json()["bytes"] == 8


def test_a_cut_of_a_url_leaves_whole_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("ab\u20accd")
    assert text_of_url(str(path), 3).data == b"ab"
    assert text_of_url(str(path), 5).data.decode() == "ab\u20ac"
    # Bytes that are no UTF-8 anyway are cut where they were asked to be.
    path.write_bytes(b"\xffab\xe2\x82\xac")
    assert text_of_url(str(path), 4).data == b"\xffab\xe2"


def test_what_cannot_be_read_or_is_empty_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read text /nowhere"):
        text_of_url("/nowhere/a.txt")
    with pytest.raises(InputError, match="cannot read text /nowhere"):
        text_of_url("/nowhere/a.txt", 10)
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(InputError, match="is empty; there is nothing to score"):
        text_of_url(str(empty))


def test_a_split_too_large_for_memory_is_refused(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TEXT_BYTES", 1000)
    with pytest.raises(InputError, match="give --max_bytes"):
        text_of_split(corpus, "val")
    assert len(text_of_split(corpus, "val", 500).data) == 500


def test_an_empty_split_is_one_line(corpus: Corpus) -> None:
    with pytest.raises(InputError, match=r"test of texts@\w+ is empty"):
        text_of_split(corpus, "test")


@pytest.mark.parametrize(
    ("shares", "split", "said"),
    [
        ({"val": 0.05, "test": 0.0}, "val", "interleaved: the last 5% of each of 4 streams"),
        ({"val": 0.05, "test": 0.1}, "test", "interleaved: the last 10% of each of 4 streams"),
        (
            {"val": 0.05, "test": 0.1},
            "val",
            "interleaved: the 5% before the last 10% of each of 4 streams",
        ),
    ],
)
def test_a_score_says_that_its_text_is_the_end_of_streams(
    tmp_path: Path, shares: dict[str, float], split: str, said: str
) -> None:
    source = tmp_path / "a.txt"
    source.write_bytes(bytes(range(250)) * 32)  # 100 batches of 4 streams in steps of 20
    settings = CorpusConfig(
        name="a", source=str(source), split="interleaved", streams=4, stream_seq_len=20, **shares
    )
    build_corpus(settings, str(tmp_path / "root"))
    corpus = open_corpus(str(tmp_path / "root"), "a")
    assert text_of_split(corpus, split).origin.rule == said
    assert split_rule(corpus, "train").startswith("train: ")
