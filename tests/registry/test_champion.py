"""The champion rule, on a registry that is a dictionary; tests/registry/test_models.py and
tests/training/test_run.py have it on a real one.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.corpora.vocab import Vocab
from pipeline.hints import command
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import artifact_files
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize
from pipeline.model.scoring import mean_nats
from pipeline.registry import champion
from pipeline.registry.champion import (
    DIVISION_TAG,
    division_tags,
    may_have_learnt,
    promote_if_better,
    score_on,
)
from pipeline.registry.models import ModelVersion

OLDER = "a" * 64  # the fingerprint of a version of the corpus that is not the newest
GONE = "0123456789ab"  # its name; its folder is not there any more
TEXT = "caf\u00e9 au lait, th\u00e9 au citron; "


class FakeModels:
    """What the rule asks of a registry: who is champion, a version's files, and a promotion."""

    def __init__(self, champion: ModelVersion | None = None) -> None:
        self.current = champion
        self.files: dict[str, dict[str, bytes]] = {}
        self.promoted: list[ModelVersion] = []
        self.tagged: dict[str, ModelVersion] = {}

    def champion(self, name: str) -> ModelVersion | None:
        return self.current if self.current and self.current.name == name else None

    def promote(self, version: ModelVersion) -> None:
        self.promoted.append(version)
        self.current = version

    def tag(self, version: ModelVersion, key: str, value: str) -> None:
        known = self.tagged.get(version.uri, version)
        self.tagged[version.uri] = dataclasses.replace(known, tags={**known.tags, key: value})

    def versions_of(self, name: str) -> list[ModelVersion]:
        return [version for version in self.tagged.values() if version.name == name]

    def download(self, version: ModelVersion) -> dict[str, bytes]:
        return self.files[version.uri]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """One text of bytes, split by whole documents, by blocks, and at its end."""
    folder = tmp_path_factory.mktemp("corpora")
    root = str(folder / "root")
    (folder / "text").mkdir()
    for number in range(8):
        (folder / "text" / f"{number}.txt").write_text(TEXT * (20 + number))
    source = str(folder / "text")
    for split in ("document", "block", "tail"):
        build_corpus(CorpusConfig(name=split, source=source, split=split, val=0.3, test=0.0), root)
    return {split: open_corpus(root, split) for split in ("document", "block", "tail")}


@pytest.fixture(scope="module")
def documents(corpora: dict[str, Corpus]) -> Corpus:
    return corpora["document"]


def version(
    number: int,
    bits: float,
    fingerprint: str,
    name: str = "texts",
    corpus: str = f"document@{GONE}",
    **tags: str,
) -> ModelVersion:
    figures = {"val_bits_per_byte": repr(bits), "corpus_fingerprint": fingerprint}
    return ModelVersion(name, str(number), {**figures, "corpus": corpus, **tags})


def network_of(vocab: Vocab, *, uniform: bool = False) -> CharRNN:
    """A network of a vocabulary: as it is initialised, or one that finds all symbols as likely."""
    network = CharRNN(ModelConfig(vocab_size=len(vocab), num_layers=1, hidden_size=4))
    initialize(network, 1)
    if uniform:
        for parameter in network.parameters():
            parameter.data.zero_()
    return network.eval()


def files_of(vocab: Vocab, *, uniform: bool = False) -> dict[str, bytes]:
    network = network_of(vocab, uniform=uniform)
    about = ModelAbout(model=network.config, corpus=CorpusReference("texts", "v", OLDER))
    return artifact_files(network, vocab, about)


def scored(vocab: Vocab, corpus: Corpus, *, uniform: bool = True) -> float:
    """What a model of a vocabulary scores on a corpus's validation text."""
    one = version(1, 0.0, OLDER)
    models = FakeModels()
    models.files[one.uri] = files_of(vocab, uniform=uniform)
    return score_on(models, one, corpus, 3)  # type: ignore[arg-type]


def promotes(
    ours: float, theirs: float, corpus: Corpus, fingerprint: str = "", vocab: Vocab | None = None
) -> bool:
    """Whether a challenger with one figure takes the place of a champion with another.

    The champion learned the corpus version with this fingerprint; default: the newest.
    """
    learned = f"{corpus.name}@{GONE if fingerprint else corpus.version}"
    current = version(
        1, theirs, fingerprint or corpus.fingerprint, corpus=learned, **division_tags(corpus)
    )
    models = FakeModels(current)
    if vocab:
        models.files[current.uri] = files_of(vocab, uniform=True)
    challenger = version(2, ours, corpus.fingerprint)
    promoted = promote_if_better(models, challenger, corpus, 3)  # type: ignore[arg-type]
    assert models.promoted == ([challenger] if promoted else [])
    return promoted


def test_the_first_version_of_a_model_becomes_champion(documents: Corpus) -> None:
    first = version(1, math.nan, documents.fingerprint)
    others = FakeModels(version(1, 1.0, documents.fingerprint, name="another"))
    assert promote_if_better(others, first, documents, 3) is True  # type: ignore[arg-type]
    assert others.promoted == [first]


@pytest.mark.parametrize("split", ["document", "block", "tail"])
def test_fewer_bits_win_and_equal_figures_keep_the_champion(
    corpora: dict[str, Corpus], split: str
) -> None:
    corpus = corpora[split]
    assert promotes(1.4999, 1.5, corpus) is True
    assert promotes(1.5, 1.5, corpus) is False
    assert promotes(1.5001, 1.5, corpus) is False


def test_a_figure_that_is_not_a_number_never_wins(documents: Corpus) -> None:
    assert not promotes(math.nan, 1.5, documents)


def test_a_champion_of_another_version_is_scored_on_the_new_validation_text(
    documents: Corpus,
) -> None:
    """Its own figure, on an older text, decides nothing."""
    theirs = scored(documents.vocab, documents)
    assert theirs == pytest.approx(math.log2(len(documents.vocab)))
    for old_figure in (0.001, 1000.0):
        arguments: dict[str, Any] = {"fingerprint": OLDER, "vocab": documents.vocab}
        assert promotes(theirs - 1e-6, old_figure, documents, **arguments)
        assert not promotes(theirs, old_figure, documents, **arguments)
        assert not promotes(theirs + 1e-6, old_figure, documents, **arguments)


def test_after_a_rebuild_with_a_tail_split_the_old_champion_stays(
    corpora: dict[str, Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the text is another stretch in every version: the old model may have learnt it."""
    with caplog.at_level(logging.INFO, "unreasonable"):
        assert promotes(0.001, 1000.0, corpora["tail"], fingerprint=OLDER) is False
    (record,) = caplog.records
    assert record.getMessage() == (
        "champion models:/texts/1 stays, uncompared, for it may have learnt the new validation "
        "text: the end of the text, which is held out, is another in every version; "
        f"to replace it: {command('models promote')} models:/texts/2"
    )


class Interleaved(FakeModels):
    """A registry where another run is promoted whole between two calls of a first one."""

    def __init__(self, current: ModelVersion | None, at: str, other: Any) -> None:
        super().__init__(current)
        self.at = at
        self.other = other

    def _interrupt(self, where: str) -> None:
        if where == self.at:
            self.at = ""
            self.other(self)

    def champion(self, name: str) -> ModelVersion | None:
        found = super().champion(name)
        self._interrupt("read")
        return found

    def tag(self, version: ModelVersion, key: str, value: str) -> None:
        super().tag(version, key, value)
        self._interrupt("tagged")

    def promote(self, version: ModelVersion) -> None:
        super().promote(version)
        self._interrupt("promoted")


@pytest.mark.parametrize("at", ["read", "tagged", "promoted"])
@pytest.mark.parametrize("has_champion", [True, False])
@pytest.mark.parametrize(("first", "second"), [(1.2, 1.4), (1.4, 1.2)])
def test_of_two_that_are_promoted_at_once_the_better_is_champion(
    documents: Corpus, at: str, has_champion: bool, first: float, second: float
) -> None:
    fingerprint = documents.fingerprint
    outcomes = []

    def run(models: FakeModels, number: int, bits: float) -> None:
        challenger = version(number, bits, fingerprint)
        promoted = promote_if_better(models, challenger, documents, 3)  # type: ignore[arg-type]
        outcomes.append((number, promoted))

    current = version(1, 1.5, fingerprint) if has_champion else None
    models = Interleaved(current, at, lambda models: run(models, 3, second))
    run(models, 2, first)
    better = 2 if first < second else 3
    assert models.current is not None
    assert models.current.number == better
    assert dict(outcomes)[better] is True


@pytest.mark.parametrize("claim", ["0.001", "nan"])
def test_a_champion_that_was_imported_is_measured(documents: Corpus, claim: str) -> None:
    """What it claims decides nothing."""
    theirs = scored(documents.vocab, documents)
    tags = {"imported_from": "a.zip"} if claim == "0.001" else {}
    current = version(1, float(claim), documents.fingerprint, **tags)
    for bits, promoted in ((theirs - 1e-6, True), (theirs, False)):
        models = FakeModels(current)
        models.files[current.uri] = files_of(documents.vocab, uniform=True)
        challenger = version(2, bits, documents.fingerprint)
        assert promote_if_better(models, challenger, documents, 3) is promoted  # type: ignore[arg-type]


def test_who_was_promoted_long_ago_is_no_rival(documents: Corpus) -> None:
    """A person may have put another one in its place since, whatever the figures say."""
    models = FakeModels(version(1, 1.5, documents.fingerprint))
    long_ago = str(int(time.time() - champion.AT_THE_SAME_TIME_S - 10))
    models.tag(version(2, 1.1, documents.fingerprint), champion.PROMOTED_TAG, long_ago)
    challenger = version(3, 1.3, documents.fingerprint)
    assert promote_if_better(models, challenger, documents, 3) is True  # type: ignore[arg-type]
    assert models.promoted == [challenger]


def test_a_champion_that_is_promoted_again_is_champion_still(documents: Corpus) -> None:
    current = version(1, 1.5, documents.fingerprint)
    models = FakeModels(current)
    assert promote_if_better(models, current, documents, 3) is True  # type: ignore[arg-type]
    assert models.promoted == []


# What a champion may have learnt.


def rebuilt(corpora: dict[str, Corpus], **changes: Any) -> tuple[ModelVersion, Corpus]:
    """A model of the corpus as it is, and a version of the corpus with other settings or texts."""
    corpus = corpora[changes.pop("corpus", "block")]
    learned = version(
        1,
        1.0,
        corpus.fingerprint,
        corpus=f"{corpus.name}@{corpus.version}",
        **division_tags(corpus),
    )
    root = corpus.url.partition("/corpora/" + corpus.name)[0]
    source = changes.pop("source", root.removesuffix("/root") + "/text")
    settings = {"split": corpus.manifest.split, "val": 0.3, "test": 0.0, **changes}
    result = build_corpus(CorpusConfig(name=corpus.name, source=source, **settings), root)
    return learned, open_corpus(root, f"{corpus.name}@{result.version}")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 1}, "its corpus version was split by seed 0, not 1"),
        ({"val": 0.2}, "its corpus version was split by val 0.3, not 0.2"),
        ({"test": 0.1}, "its corpus version was split by test 0.0, not 0.1"),
        ({"train": 0.7, "val": "rest"}, "its corpus version was split by train rest, not 0.7, val"),
        ({"split": "document"}, "its corpus version was split by split block, not document, block"),
        ({"split": "tail"}, "the end of the text, which is held out, is another in every version"),
        (
            {"split": "interleaved", "streams": 2, "stream_seq_len": 5},
            "the end of each stream, which is held out, is another in every version",
        ),
        ({"newlines": "lf"}, "its corpus version was split by newlines keep, not lf"),
        ({"chunk_bytes": 2048}, "its corpus version was split by chunk_bytes 16777216, not 2048"),
        # Neither the order nor the symbols move text to another split.
        ({"order": "path"}, ""),
        ({"min_count": 2}, ""),
        ({"separator": "|"}, ""),
        ({"corpus": "document", "chunk_bytes": 2048}, ""),
        ({"corpus": "document", "seed": 1}, "its corpus version was split by seed 0, not 1"),
    ],
)
def test_a_model_of_another_division_may_have_learnt_the_text(
    corpora: dict[str, Corpus], changes: dict[str, Any], reason: str
) -> None:
    found = may_have_learnt(*rebuilt(corpora, **changes))
    assert found.startswith(reason) if reason else not found


def test_without_proof_nothing_compares(corpora: dict[str, Corpus]) -> None:
    block = corpora["block"]
    learned, newer = rebuilt(corpora, order="path")
    assert may_have_learnt(learned, newer) == ""

    def asked(opened: Corpus, **tags: str) -> str:
        own = {**learned.tags, "corpus": f"{opened.name}@{GONE}", **tags}
        return may_have_learnt(ModelVersion("texts", "1", own), opened)

    # The manifest is what tells. When it is gone the tag does, for what edits cannot move.
    untagged = version(1, 1.0, block.fingerprint, corpus=f"block@{block.version}")
    assert may_have_learnt(untagged, newer) == ""
    gone = "its corpus version is gone, and documents may have been edited since"
    assert asked(newer) == gone
    whole = corpora["document"]
    assert asked(whole, **division_tags(whole)) == ""
    assert asked(whole, **division_tags(block)).startswith("its corpus version was split by split")
    unknown = "nothing says how its corpus version was split"
    for tag in ("", "{", "[]", "7", "{}", '{"split": "document", "later": 1}'):
        assert asked(whole, **{DIVISION_TAG: tag}) == unknown
    # A version of that name is there, but it is another one.
    other = {"corpus": f"document@{whole.version}", DIVISION_TAG: ""}
    assert asked(whole, **other, corpus_fingerprint=OLDER) == unknown
    # Whoever learned this very version has its val split held out.
    assert asked(whole, corpus_fingerprint=whole.fingerprint) == ""


def test_another_corpus_may_hold_the_same_text(corpora: dict[str, Corpus]) -> None:
    whole = corpora["document"]
    for name, said in (("texts", "corpus texts"), ("", "corpus unknown")):
        learned = version(1, 1.0, OLDER, corpus=f"{name}@{GONE}", **division_tags(whole))
        assert may_have_learnt(learned, whole) == f"it learned {said}, not document"
    nothing = ModelVersion("texts", "1", {})
    assert may_have_learnt(nothing, whole) == "it learned corpus unknown, not document"


def test_edited_documents_move_text_between_blocks(
    corpora: dict[str, Corpus], tmp_path: Path
) -> None:
    for number in range(8):
        (tmp_path / f"{number}.txt").write_text(TEXT * (20 + number))
    text = "".join(f"{TEXT}{number}\n" for number in range(900))
    (tmp_path / "long.txt").write_text(text)
    _, before = rebuilt(corpora, source=str(tmp_path))
    learned = version(1, 1.0, before.fingerprint, corpus=f"block@{before.version}")
    (tmp_path / "long.txt").write_text(text + TEXT * 200)
    _, appended = rebuilt(corpora, source=str(tmp_path))
    assert appended.version != before.version
    assert may_have_learnt(learned, appended) == ""
    (tmp_path / "long.txt").write_text(f"new\n{text}")
    _, inserted = rebuilt(corpora, source=str(tmp_path))
    assert may_have_learnt(learned, inserted) == (
        "1 of its documents were edited, which moves text between blocks (long.txt)"
    )


def test_a_champion_that_cannot_write_the_new_text_is_beaten_by_any_figure(
    documents: Corpus,
) -> None:
    symbols = [symbol for symbol in documents.vocab.symbols if symbol is not None]
    fewer = Vocab("byte", symbols[:-1])
    assert scored(fewer, documents) == math.inf
    assert promotes(1e9, 0.001, documents, fingerprint=OLDER, vocab=fewer)
    assert not promotes(math.inf, 0.001, documents, fingerprint=OLDER, vocab=fewer)


def test_what_was_compared_is_logged(documents: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "unreasonable"):
        promotes(1.23456, 2.0, documents)
    (record,) = caplog.records
    assert record.getMessage() == (
        "models:/texts/2: 1.2346 bits per byte; champion models:/texts/1: 2.0000"
    )


# Scores.


def test_a_score_is_the_mean_over_the_validation_text_by_byte(documents: Corpus) -> None:
    tokens = documents.open_split("val")
    nats = mean_nats(network_of(documents.vocab), tokens, 3)
    bits = nats / math.log(2) * len(tokens) / documents.bytes_in("val")
    assert scored(documents.vocab, documents, uniform=False) == pytest.approx(bits, rel=1e-12)


def test_a_score_reads_as_many_lanes_as_it_is_told(
    documents: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []

    def counted(network: CharRNN, tokens: Any, lanes: int) -> float:
        told.append((len(tokens), lanes))
        return 1.0

    monkeypatch.setattr(champion, "mean_nats", counted)
    assert scored(documents.vocab, documents) == pytest.approx(1 / math.log(2))
    promotes(1.0, 1.0, documents, fingerprint=OLDER, vocab=documents.vocab)
    assert told == [(documents.tokens_in("val"), 3)] * 2


def test_a_model_with_another_vocabulary_reads_the_same_text(documents: Corpus) -> None:
    symbols = [symbol for symbol in documents.vocab.symbols if symbol is not None]
    more = Vocab("byte", sorted({*symbols, ord("~")}))
    assert scored(more, documents) == pytest.approx(math.log2(len(more)))
    # A model of characters predicts fewer tokens for as many bytes.
    text = documents.vocab.decode(
        documents.open_split("val").read(0, documents.tokens_in("val"))
    ).decode()
    chars = Vocab("char", sorted(map(ord, set(text))))
    bits = math.log2(len(chars)) * len(text) / len(text.encode())
    assert scored(chars, documents) == pytest.approx(bits)
    assert len(text) < len(text.encode())


def test_bytes_that_are_no_text_are_infinitely_hard_for_a_model_of_characters(
    tmp_path: Path,
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(b"caf\xe9 au lait" * 20)
    config = CorpusConfig(name="latin", source=str(tmp_path), split="tail", val=0.3, test=0.0)
    build_corpus(config, str(tmp_path / "root"))
    corpus = open_corpus(str(tmp_path / "root"), "latin")
    assert scored(Vocab("char", range(32, 256)), corpus) == math.inf


def test_a_name_that_is_no_text_can_be_shown(
    documents: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(champion, "moved_documents", lambda *_: [b"caf\xe9", b"other"])
    assert champion._edits(documents, documents) == (
        "2 of its documents were edited, which moves text between blocks (caf\ufffd)"
    )
