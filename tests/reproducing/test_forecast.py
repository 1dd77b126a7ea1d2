"""A recipe's stages forecast one from the other, before and after they ran."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import InputError
from pipeline.reproducing.forecast import forecast
from pipeline.reproducing.recipe import Recipe
from pipeline.sampling.config import SampleConfig
from pipeline.training import estimate
from pipeline.training.config import TrainConfig
from tests.registering import untrained


@pytest.fixture(autouse=True)
def _rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "product_rate", lambda *shape: 1e9)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("a line of text\n" * 400)
    os.utime(text, (1_700_000_000, 1_700_000_000))
    return text


def recipe(text: Path, sample: str = "models:/mine@champion", **corpus: Any) -> Recipe:
    settings = {"name": "mine", "source": str(text), "val": 0.2, "test": 0.0, **corpus}
    return Recipe(
        name="mine",
        corpus=CorpusConfig(**settings),
        train=TrainConfig(
            corpus="mine",
            num_layers=1,
            hidden_size=8,
            global_batch_size=4,
            seq_len=20,
            max_steps=30,
        ),
        sample=SampleConfig(model=sample, num_chars=50),
    )


def test_a_fresh_root_is_forecast_as_it_is_once_the_corpus_is_built(
    text: Path, tmp_path: Path
) -> None:
    root = str(tmp_path / "root")
    before = forecast(recipe(text), root, 2)
    assert not (tmp_path / "root").exists()
    assert before.skipped == ()
    assert (before.train.text.whole, before.train.text.version) == (True, "")
    built = build_corpus(recipe(text).corpus, root)
    after = forecast(recipe(text), root, 2)
    assert after.skipped == ("corpus",)
    assert after.train.text.version == built.version
    assert before.train.parameters == after.train.parameters
    assert before.train.steps_per_epoch == after.train.steps_per_epoch
    assert before.sample == after.sample
    assert before.sample.version == ""
    assert before.seconds is not None
    assert after.seconds is not None
    # Ray starts once, whoever needs it: the build's own seconds are what is saved.
    saved = before.seconds.value - after.seconds.value
    assert saved == pytest.approx(before.corpus.seconds.value - 10, abs=0.3)
    assert before.to_json()["corpus"]["tokens"] == built.tokens


def test_a_model_of_the_same_settings_is_sampled(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when reproduce is run again: the registry answers, and the files are looked at."""
    root = str(tmp_path / "root")
    build_corpus(recipe(text).corpus, root)
    corpus = open_corpus(root, "mine")
    url = storage.join(runs.run_url(root, "run-8"), runs.checkpoint_name(1))
    runs.write_checkpoint(url, untrained(corpus, 8))

    class Registry:
        def trained(self, *key: str) -> Any:
            return SimpleNamespace(uri=url)

    monkeypatch.setattr("pipeline.training.forecast.registry", lambda root: Registry())
    found = forecast(recipe(text), root, 2)
    assert found.train.same_settings == url
    assert found.skipped == ("corpus", "train")
    assert found.sample.version == "checkpoint-00000001"
    assert found.sample.parameters == found.train.parameters
    assert found.seconds is not None
    assert found.sample.seconds is not None
    # The sampling is all that is left, and xz on the validation text.
    assert found.seconds.value == pytest.approx(found.sample.seconds.value, abs=0.2)


def test_a_corpus_without_validation_text_is_refused(text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would have 0 val tokens; evaluation needs 2"):
        forecast(recipe(text, val=0.0), str(tmp_path / "root"), 2)


def test_another_model_to_sample_must_be_there(text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model models:/other@champion"):
        forecast(recipe(text, sample="models:/other@champion"), str(tmp_path / "root"), 2)
