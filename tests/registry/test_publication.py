"""What a checkpoint gets on its way to the registry."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from pathlib import Path

import pytest

from pipeline.corpora import history
from pipeline.corpora.manifest import open_corpus
from pipeline.engine.engine import engine_of
from pipeline.engine.request import Request
from pipeline.model.about import PrecisionCheck
from pipeline.model.artifact import ARTIFACT, load_network, read_files
from pipeline.registry import publication
from pipeline.registry.card import model_card
from pipeline.registry.publication import lineage_of, publishable
from tests.registering import checkpoint
from tests.registry.conftest import HOSTILE


def test_a_models_lineage_is_its_corpuss(home: str, texts: Path) -> None:
    corpus = open_corpus(home, "texts")
    lineage = lineage_of(corpus, home)
    assert dataclasses.asdict(lineage) == {
        "sources": (str(texts),),
        "unit": "byte",
        "documents": 14,
        "documents_sha256": corpus.manifest.documents_sha256,
        "bytes": corpus.manifest.bytes.text,
        "url": HOSTILE,
        "licence": "PSF-2.0",
    }


def test_where_the_last_build_says_nothing_of_sources_there_are_none(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = open_corpus(home, "texts")
    monkeypatch.setattr(history, "origin", lambda root, name: None)
    lineage = lineage_of(corpus, home)
    assert (lineage.sources, lineage.url, lineage.licence) == ((), "", "")
    assert lineage.documents == 14


def test_a_checkpoint_is_made_ready(home: str, caplog: pytest.LogCaptureFixture) -> None:
    corpus = open_corpus(home, "texts")
    url = checkpoint(home, 16)
    before = read_files(url, ARTIFACT)
    with caplog.at_level(logging.INFO, "unreasonable"):
        files = publishable(url, "my-model", corpus, home)
    assert set(files) == {*ARTIFACT, "MODEL_CARD.md"}
    assert files["weights.safetensors"] == before["weights.safetensors"]
    assert files["vocab.json"] == before["vocab.json"]
    network, vocab, about = load_network(files, "a test")
    assert about.lineage == lineage_of(corpus, home)
    sampling = about.sampling
    # Measured on a part of the validation text, by an untrained model: nearly log(V) nats.
    assert sampling is not None
    assert 0.5 * corpus.tokens_in("val") < sampling.tokens < corpus.tokens_in("val")
    assert sampling.nats_fp32 == pytest.approx(math.log(len(vocab)), rel=0.1)
    assert sampling.nats_int8 is not None
    lost = sampling.nats_int8 / sampling.nats_fp32 - 1
    assert abs(lost) < 0.01
    assert sampling.precision == ("int8" if lost <= 0.002 else "fp32")
    # The rest of the config is the checkpoint's.
    config = json.loads(files["config.json"])
    assert {**json.loads(before["config.json"]), **config} == config
    # The card shows 600 characters of the model, in the precision that it will be sampled in.
    engine = engine_of(network, vocab, about.first_tokens, sampling.precision)
    (sample,) = engine.sample([Request(0, 600, temperature=0.8)])
    card = model_card("my-model", about, network.num_parameters(), sample)
    assert files["MODEL_CARD.md"].decode() == card
    assert f"{sampling.nats_int8:.5f}" in card
    assert f"| url | `{HOSTILE[:-2]}\\|'` |" in card
    (record,) = caplog.records
    assert record.getMessage() == (
        f"model my-model: sampled in {sampling.precision}: {sampling.nats_int8:.5f} nats in int8, "
        f"{sampling.nats_fp32:.5f} in fp32"
    )


def test_a_text_too_short_to_measure_on_is_sampled_in_fp32() -> None:
    described = publication._described(PrecisionCheck("fp32", 0))
    assert described == "fp32: the validation text is too short to measure int8 on"
