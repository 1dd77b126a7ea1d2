"""The stages that look at a model, in this process: what they give, and when they are skipped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs
from pipeline.corpora.manifest import Corpus
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.registry.fetch import fetch_model
from pipeline.reproducing import evidence
from pipeline.reproducing.evidence import evaluated, evolved, explained, kind_of
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.job import SampleResult
from pipeline.sampling.run import sample_files
from pipeline.tasks import run_here
from tests.registering import checkpoint

QUICK: dict[str, Any] = {
    "max_bytes": 4_000,
    "baselines": False,
    "duplicates": False,
    "breakdown": False,
}


@pytest.fixture(scope="module")
def home(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("looked")
    (folder / "corpora").symlink_to(Path(root, "corpora"))
    return str(folder)


@pytest.fixture(scope="module")
def model(home: str) -> str:
    return checkpoint(home, 8)


def samples(home: str, model: str, folder: Path, seed: int = 1) -> SampleResult:
    config = SampleConfig(model=model, num_chars=300, seed=seed, output=str(folder))
    return sample_files(config, fetch_model(model, home), home, local=True)


def nobody(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Any:
    raise AssertionError("a stage of one worker asked for Ray")


def test_the_recipes_own_samples_are_checked_and_then_skipped(
    home: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluateConfig(model=model, **QUICK)
    sampled = samples(home, model, tmp_path / "a")
    first = evaluated(config, "python", home, nobody, sampled)
    assert not first.was_there
    (page,) = first.pages
    folder = Path(page).parent
    assert first.found == json.loads((folder / "report.json").read_text())
    assert first.found["models"][0]["bits_per_byte"] > 1
    structure = first.found["studies"]["structure"]
    assert (structure["kind"], structure["groups"][0]["samples"]["bytes"]) == ("python", 300)
    before = os.stat(page).st_mtime_ns
    again = evaluated(config, "python", home, nobody, sampled)
    assert (again.found, again.pages, again.was_there) == (first.found, first.pages, True)
    assert os.stat(page).st_mtime_ns == before
    # Killed before the JSON, which is last: everything is done again.
    (folder / "report.json").unlink()
    assert evaluated(config, "python", home, nobody, sampled).found == first.found
    assert os.stat(page).st_mtime_ns != before
    # A JSON of another format is no output of this program.
    (folder / "report.json").write_text('{"format": 0}')
    assert evaluated(config, "python", home, nobody, sampled).found == first.found


def test_other_samples_in_the_same_folder_are_evaluated_anew(
    home: str, model: str, tmp_path: Path
) -> None:
    config = EvaluateConfig(model=model, **QUICK)
    first = evaluated(config, "prose", home, run_here, samples(home, model, tmp_path / "b"))
    for file in (tmp_path / "b").iterdir():
        file.unlink()
    other = samples(home, model, tmp_path / "b", seed=2)
    second = evaluated(config, "prose", home, run_here, other)
    assert not second.was_there
    assert second.pages != first.pages


def test_samples_too_large_to_hold_are_left_out(
    home: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MAX_BYTES", 1199)  # 300 characters may be 1,200 bytes
    sampled = samples(home, model, tmp_path / "c")
    found = evaluated(EvaluateConfig(model=model, **QUICK), "prose", home, run_here, sampled).found
    assert found["studies"] == {}


def test_an_explanation_is_skipped_where_its_cells_are(home: str, model: str) -> None:
    config = ExplainConfig(model=model, finder_bytes=3000, page_bytes=300)
    first = explained(config, "python", home, nobody)
    assert [Path(page).name for page in first.pages] == ["text.html", "play.html"]
    assert first.found["units"] == 8
    again = explained(config, "python", home, nobody)
    assert (again.found, again.was_there) == (first.found, True)
    other = explained(config, "prose", home, nobody)
    assert not other.was_there


def test_pages_without_a_cell_finder_are_written_again(home: str, model: str) -> None:
    config = ExplainConfig(model=model, finder_bytes=0, page_bytes=300)
    found = explained(config, "python", home, nobody)
    assert (found.found, found.was_there) == ({}, False)
    assert all(Path(page).exists() for page in found.pages)
    (page,) = explained(ExplainConfig(model=model, play=True), "", home, nobody).pages
    assert page.endswith("/play.html")


def test_the_page_of_what_was_learned_when(home: str, tmp_path: Path, corpus: Corpus) -> None:
    run = tmp_path / "run"
    (run / runs.SAMPLES).mkdir(parents=True)
    about = {"corpus": {"name": corpus.name, "version": corpus.version}, "recipe": "texts"}
    (run / runs.START).write_text(json.dumps(about))
    (run / runs.METRICS).write_text('{"step": 10, "train_loss": 3.0}\n')
    (run / runs.SAMPLES / "step-000010.txt").write_text("def f(self):\n    return None\n")
    first = evolved(str(run), home)
    assert set(first.found) == {"page", "samples", "reached", "milestones"}
    assert first.found["milestones"][0]["name"] == "spaces"
    assert first.pages == (f"{run}/evolution.html",)
    assert evolved(str(run), home).was_there


@pytest.mark.parametrize(
    ("given", "recipe", "corpus", "kind"),
    [
        ("c", "latex", "linux", "c"),
        ("", "latex", "linux", "latex"),
        ("", "", "linux", "c"),
        ("", "", "mine", "prose"),
    ],
)
def test_a_kind_comes_from_whoever_says_one(
    given: str, recipe: str, corpus: str, kind: str
) -> None:
    assert kind_of(given, recipe, corpus) == kind
