"""The order of a recipe's stages, and what each is given. The stages themselves have tests of their
own, and tests/test_s3.py runs a whole recipe; here they only note that they were called.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.reproducing import stages
from pipeline.reproducing.claims import read_claims
from pipeline.reproducing.evidence import Look
from pipeline.reproducing.lineage import Step
from pipeline.reproducing.stages import Recipe, StageTimes, reproduce
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig

OWN = "models:/mine@champion"
RECIPE = Recipe(
    name="mine",
    corpus=CorpusConfig(name="mine", source="x"),
    train=TrainConfig(corpus="mine"),
    sample=SampleConfig(model=OWN, num_chars=7),
)
WHOLE = dataclasses.replace(
    RECIPE,
    evaluate=EvaluateConfig(model=OWN),
    explain=ExplainConfig(model="models:/other/2", kind="c"),
    kind="latex",
    claims=read_claims(
        [
            {
                "name": "it learned something",
                "measured": "evaluation.bits",
                "comparison": "below",
                "expected": "baselines.unigram",
                "must": True,
            }
        ],
        "mine",
    ),
)
CORPUS = SimpleNamespace(fingerprint="abc")
SAMPLED = SimpleNamespace(samples="/out/samples.jsonl", to_json=lambda: {"chars": 7})


@dataclass
class Trained:
    """What training came to. It did not become champion: that is version 2."""

    stopped: bool = False
    model: str = "models:/mine/3"
    run: str = "/root/runs/run-1"
    val_bits_per_byte: float | None = 1.72346

    def to_json(self) -> dict[str, Any]:
        return {"stopped": self.stopped, "run_id": "run-1"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The stages' calls, in order."""
    made: list[tuple[Any, ...]] = []
    samples_on_the_way = ["step-000010.txt"]

    def noted(name: str, result: Any) -> None:
        def call(*given: Any, **options: Any) -> Any:
            made.append((name, *given, *options.values()))
            return result

        monkeypatch.setattr(stages, name, call)

    noted("build_corpus", SimpleNamespace(url="/root/corpora/mine/v", to_json=dict))
    noted("check_run", CORPUS)
    noted("take_up", "the settings, taken up")
    noted("ensure_trained", Trained())
    noted("run_sampling", SimpleNamespace(result=SAMPLED))
    noted("baselines", {"xz": 1.7387, "unigram": 4.91239})
    monkeypatch.setattr(stages.storage, "names", lambda url: samples_on_the_way)
    noted("evolved", Look({"reached": {}}, ("/run/evolution.html",)))
    noted("evaluated", Look({"bits": 1.6}, ("/e/report.html",), was_there=True))
    noted("explained", Look({"units": 8}, ("/x/text.html", "/x/play.html")))
    noted("fetch_model", "the model")
    noted("trace", (Step("sample", "/out/a", "d"),))
    monkeypatch.setattr(stages.page, "write", lambda done, folder: f"{folder}/report.html")
    return made


def run(recipe: Recipe, times: StageTimes) -> Any:
    return reproduce(recipe, "/root", "runner", times)  # type: ignore[arg-type]


def test_every_stage_gets_what_the_one_before_it_made(calls: list[tuple[Any, ...]]) -> None:
    times = StageTimes()
    done = run(RECIPE, times)
    sample = SampleConfig(model="models:/mine/3", num_chars=7)  # the model that was trained
    assert calls == [
        ("build_corpus", RECIPE.corpus, "/root", "runner", None),
        ("check_run", RECIPE.train, "/root"),
        ("take_up", RECIPE.train, "/root", "mine", CORPUS),
        ("ensure_trained", "the settings, taken up", "/root", "mine", CORPUS),
        ("run_sampling", sample, "/root", contextlib.nullcontext),
        ("baselines", CORPUS, "val"),
        ("evolved", "/root/runs/run-1", "/root"),
        ("fetch_model", "models:/mine/3", "/root"),
        ("trace", "/out/samples.jsonl", "the model", "/root/runs/run-1", CORPUS),
    ]
    assert list(times.seconds) == ["corpus", "train", "sample", "baselines", "evolution", "report"]
    value = done.to_json()
    assert value["report"].startswith("/root/reproductions/mine-")
    assert {key: value[key] for key in ("corpus", "model", "samples", "val_bits_per_byte")} == {
        "corpus": "/root/corpora/mine/v",
        "model": "models:/mine/3",
        "samples": "/out/samples.jsonl",
        "val_bits_per_byte": {"model": 1.7235, "xz": 1.7387, "unigram": 4.9124},
    }
    assert done.bits_per_byte["model"] == 1.72346


def test_the_model_is_looked_at_and_the_claims_judged(calls: list[tuple[Any, ...]]) -> None:
    times = StageTimes()
    done = run(WHOLE, times)
    evaluate = EvaluateConfig(model="models:/mine/3")
    assert [call for call in calls if call[0] in ("evolved", "evaluated", "explained")] == [
        ("evolved", "/root/runs/run-1", "/root"),
        ("evaluated", evaluate, "latex", "/root", "runner", SAMPLED),
        ("explained", WHOLE.explain, "c", "/root", "runner"),
    ]
    assert done.evidence == {
        "corpus": {"fingerprint": "abc"},
        "training": {"stopped": False, "run_id": "run-1"},
        "samples": {"chars": 7},
        "baselines": done.bits_per_byte,
        "evolution": {"reached": {}},
        "evaluation": {"bits": 1.6},
        "explanation": {"units": 8},
    }
    value = done.to_json()
    assert value["claims"] == {"it learned something": "holds"}
    assert "exit_status" not in value
    assert sorted(value["pages"].values()) == [
        "/e/report.html",
        "/run/evolution.html",
        "/x/play.html",
        "/x/text.html",
    ]
    order = ["corpus", "train", "sample", "baselines", "evolution", "evaluation", "explanation"]
    assert list(times.seconds) == [*order, "report"]


def test_a_gate_that_fails_is_an_exit_status(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "evaluated", lambda *given: Look({"bits": 5.0}, ()))
    value = run(WHOLE, StageTimes()).to_json()
    assert (value["exit_status"], value["failed"]) == (1, ["it learned something"])


def test_an_origin_that_does_not_fit_is_one_too(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (Step("sample a", "/out/a", "d", broken="another file"),)
    monkeypatch.setattr(stages, "trace", lambda *given: steps)
    value = run(RECIPE, StageTimes()).to_json()
    assert (value["exit_status"], value["failed"]) == (1, ["sample a: another file"])


def test_a_run_without_samples_on_the_way_has_no_page_of_them(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages.storage, "names", lambda url: [])
    assert "evolution" not in run(WHOLE, StageTimes()).evidence


def test_a_run_that_was_asked_to_stop_ends_the_recipe(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "ensure_trained", lambda *given: Trained(stopped=True))
    times = StageTimes()
    done = run(WHOLE, times)
    assert [call[0] for call in calls] == ["build_corpus", "check_run", "take_up"]
    assert done.sampled is None
    assert done.to_json() == {"stopped": True, "run_id": "run-1"}
    assert list(times.seconds) == ["corpus"]


def test_a_model_that_the_recipe_names_is_sampled_instead(calls: list[tuple[Any, ...]]) -> None:
    other = SampleConfig(model="models:/other@champion")
    run(dataclasses.replace(RECIPE, sample=other), StageTimes())
    assert calls[4] == ("run_sampling", other, "/root", contextlib.nullcontext)


def test_other_claims_have_a_report_of_their_own(
    calls: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    first = run(WHOLE, StageTimes()).report
    assert run(WHOLE, StageTimes()).report == first
    assert run(dataclasses.replace(WHOLE, claims=()), StageTimes()).report != first


def test_a_stages_time_is_since_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([101.26, 111.26])
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))
    times = StageTimes(began=100.0)
    times.done("start")
    times.done("corpus")
    assert times.seconds == {"start": 1.3, "corpus": 10.0}
