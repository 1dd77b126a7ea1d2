"""The order of a recipe's stages, and what each is given. The stages themselves have tests of their
own, and tests/test_s3.py runs a whole recipe; here they only note that they were called.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.reproducing import stages
from pipeline.reproducing.stages import Recipe, StageTimes, reproduce
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig

RECIPE = Recipe(
    name="mine",
    corpus=CorpusConfig(name="mine", source="x"),
    train=TrainConfig(corpus="mine"),
    sample=SampleConfig(model="models:/mine@champion", num_chars=7),
)


@dataclass
class Trained:
    """What training came to. It did not become champion: that is version 2."""

    stopped: bool = False
    model: str = "models:/mine/3"
    val_bits_per_byte: float | None = 1.72346

    def to_json(self) -> dict[str, Any]:
        return {"stopped": self.stopped, "run_id": "run-1"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The stages' calls, in order."""
    made: list[tuple[Any, ...]] = []

    def noted(name: str, result: Any) -> None:
        def call(*given: Any, **options: Any) -> Any:
            made.append((name, *given, *options.values()))
            return result

        monkeypatch.setattr(stages, name, call)

    noted("build_corpus", SimpleNamespace(url="/root/corpora/mine/v"))
    noted("check_run", "the corpus")
    noted("ensure_trained", Trained())
    noted("run_sampling", SimpleNamespace(result=SimpleNamespace(samples="/out/samples.jsonl")))
    noted("baselines", {"xz": 1.7387, "unigram": 4.91239})
    return made


def test_every_stage_gets_what_the_one_before_it_made(calls: list[tuple[Any, ...]]) -> None:
    times = StageTimes()
    done = reproduce(RECIPE, "/root", "runner", times)  # type: ignore[arg-type]
    sample = SampleConfig(model="models:/mine/3", num_chars=7)  # the model that was trained
    assert calls == [
        ("build_corpus", RECIPE.corpus, "/root", "runner", None),
        ("check_run", RECIPE.train, "/root"),
        ("ensure_trained", RECIPE.train, "/root", "mine", "the corpus"),
        ("run_sampling", sample, "/root", contextlib.nullcontext),
        ("baselines", "the corpus", "val"),
    ]
    assert list(times.seconds) == ["corpus", "train", "sample", "report"]
    assert done.to_json() == {
        "recipe": "mine",
        "root": "/root",
        "corpus": "/root/corpora/mine/v",
        "model": "models:/mine/3",
        "samples": "/out/samples.jsonl",
        "val_bits_per_byte": {"model": 1.7235, "xz": 1.7387, "unigram": 4.9124},
        "seconds": times.seconds,
    }
    assert done.bits_per_byte["model"] == 1.72346


def test_a_run_that_was_asked_to_stop_ends_the_recipe(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "ensure_trained", lambda *given: Trained(stopped=True))
    times = StageTimes()
    done = reproduce(RECIPE, "/root", "runner", times)  # type: ignore[arg-type]
    assert [call[0] for call in calls] == ["build_corpus", "check_run"]
    assert done.sampled is None
    assert done.to_json() == {"stopped": True, "run_id": "run-1"}
    assert list(times.seconds) == ["corpus"]


def test_a_model_that_the_recipe_names_is_sampled_instead(calls: list[tuple[Any, ...]]) -> None:
    other = SampleConfig(model="models:/other@champion")
    recipe = Recipe(name="mine", corpus=RECIPE.corpus, train=RECIPE.train, sample=other)
    reproduce(recipe, "/root", "runner", StageTimes())  # type: ignore[arg-type]
    assert calls[3] == ("run_sampling", other, "/root", contextlib.nullcontext)


def test_a_stages_time_is_since_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([101.26, 111.26])
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))
    times = StageTimes(began=100.0)
    times.done("start")
    times.done("corpus")
    assert times.seconds == {"start": 1.3, "corpus": 10.0}
