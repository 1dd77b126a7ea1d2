"""The page of a run, from a folder as training leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import runs
from pipeline.corpora.manifest import Corpus
from pipeline.errors import DamagedError, InputError
from pipeline.explaining.evolution import read_samples, run_evolution


def run_of(folder: Path, corpus: Corpus, samples: dict[int, str], last: int = 300) -> Path:
    """A run that has made `last` steps, with samples of some."""
    folder.mkdir(parents=True)
    about = {"corpus": {"name": corpus.name, "version": corpus.version}, "recipe": "texts"}
    (folder / runs.START).write_text(json.dumps(about))
    rows = [{"step": step, "train_loss": 4.0 - step / 100} for step in range(1, last + 1)]
    (folder / runs.METRICS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / runs.SAMPLES).mkdir()
    for step, text in samples.items():
        (folder / runs.SAMPLES / f"step-{step:06d}.txt").write_text(text)
    return folder


def test_samples_stand_in_order_with_the_loss_of_their_step(
    tmp_path: Path, corpus: Corpus, root: str
) -> None:
    folder = run_of(tmp_path / "a", corpus, {300: "def f(self):\n", 100: "x q z\n", 400: "later"})
    # Step 400 lies behind the newest checkpoint: it will be made again.
    sampled = read_samples(str(folder))
    assert [(each.step, each.loss, each.sample) for each in sampled] == [
        (100, 3.0, "x q z\n"),
        (300, 1.0, "def f(self):\n"),
    ]
    done = run_evolution(str(folder), root)
    assert done.page == f"{folder}/evolution.html"
    assert done.to_json()["samples"] == 2
    assert "def f(self):" in Path(done.page).read_text()
    elsewhere = run_evolution(str(folder), root, str(tmp_path / "out"))
    assert Path(elsewhere.page).read_bytes() == Path(done.page).read_bytes()


def test_what_has_no_page_is_one_line(tmp_path: Path, corpus: Corpus, root: str) -> None:
    with pytest.raises(InputError, match="there is no run at"):
        run_evolution("nobody", root)
    folder = run_of(tmp_path / "a", corpus, {})
    with pytest.raises(InputError, match="no samples on the way"):
        run_evolution(str(folder), root)
    (folder / runs.METRICS).unlink()
    with pytest.raises(InputError, match=r"no metrics.jsonl yet"):
        read_samples(str(folder))


def test_a_loss_that_is_no_number_is_named(tmp_path: Path, corpus: Corpus) -> None:
    folder = run_of(tmp_path / "a", corpus, {1: "a"})
    (folder / runs.METRICS).write_text('{"step": 1, "train_loss": "<b>"}\n')
    with pytest.raises(DamagedError, match="train_loss of step 1 is no number"):
        read_samples(str(folder))
