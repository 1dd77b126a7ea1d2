"""A whole recipe in this process, cut off between and inside its stages: what is there is kept, and
the end is the same. Training and the actor pool, which need Ray, are stood in for by an untrained
model that is really registered, and by sampling in this process.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import runs
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import Corpus
from pipeline.evaluation import run as evaluation
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining import run as explanation
from pipeline.explaining.config import ExplainConfig
from pipeline.model.about import CorpusReference
from pipeline.registry.fetch import fetch_model
from pipeline.reproducing import page, stages
from pipeline.reproducing.claims import read_claims
from pipeline.reproducing.recipe import Recipe
from pipeline.reproducing.result import Reproduction
from pipeline.reproducing.stages import StageTimes, reproduce
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files
from pipeline.tasks import run_here
from pipeline.training.config import TrainConfig
from pipeline.training.finishing import TrainedRun
from pipeline.training.preflight import RunStart
from tests.registering import checkpoint

OWN = "models:/texts@champion"
CLAIM = {
    "name": "it is a model",
    "measured": "evaluation.models[0].bits_per_byte",
    "comparison": "above",
    "expected": 0,
    "must": True,
}


@pytest.fixture
def recipe(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    def trained(config: TrainConfig, root: str, name: str, corpus: Corpus) -> TrainedRun:
        run = runs.run_url(root, "run-8")
        uri = f"{run}/{runs.checkpoint_name(1)}"
        if not Path(uri).exists():
            checkpoint(root, 8)
            reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
            RunStart(reference, name, asdict(config)).write(run)
        return TrainedRun(
            run_id="run-8", run=run, tracking_uri="", model=uri, val_bits_per_byte=7.5
        )

    def sampled(config: SampleConfig, root: str, session: Any) -> Any:
        model = fetch_model(config.model, root)
        return SimpleNamespace(result=sample_files(config, model, root, local=True))

    source = tmp_path / "source"
    source.mkdir()
    for file in sorted(texts.glob("*.py"))[:4]:
        copy = source / file.name
        copy.write_bytes(file.read_bytes())
        # A file of this very second may change within it: it would be read again.
        os.utime(copy, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(stages, "ensure_trained", trained)
    monkeypatch.setattr(stages, "run_sampling", sampled)
    return Recipe(
        name="texts",
        corpus=CorpusConfig(name="texts", source=str(source), val=0.2, test=0.0),
        train=TrainConfig(corpus="texts", global_batch_size=4, seq_len=20, max_steps=5),
        sample=SampleConfig(model=OWN, num_chars=200),
        evaluate=EvaluateConfig(
            model=OWN, max_bytes=2000, baselines=False, duplicates=False, breakdown=False
        ),
        explain=ExplainConfig(model=OWN, finder_bytes=2000, page_bytes=200),
        kind="python",
        claims=read_claims([CLAIM], "texts"),
    )


def run(recipe: Recipe, root: str) -> Reproduction:
    return reproduce(recipe, root, run_here, StageTimes())


def files(root: str) -> dict[str, int]:
    """When each file was written, but for those that every run writes anew: who trains, and the
    report of this run.
    """
    found = [path for path in Path(root).rglob("*") if path.is_file()]
    kept = [path for path in found if "reproductions" not in path.parts]
    return {str(path): os.stat(path).st_mtime_ns for path in kept}


def killed(*given: Any, **options: Any) -> Any:
    raise KeyboardInterrupt


def untimed(evidence: Any) -> Any:
    """Without the seconds that it took."""
    if not isinstance(evidence, dict):
        return evidence
    return {name: untimed(each) for name, each in evidence.items() if name != "seconds"}


def test_a_recipe_killed_anywhere_ends_as_if_it_never_was(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "root")
    before: dict[str, int] = {}
    # One after the other, each a stage further: at the start of a stage, or before its last file.
    for module, name in (
        (stages, "ensure_trained"),
        (stages, "run_sampling"),
        (stages, "baselines"),
        (evaluation, "run_plan"),
        (evaluation, "write_report"),
        (explanation, "explain_cells"),
        (explanation, "play_page"),
        (stages, "trace"),
        (page, "write"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(KeyboardInterrupt):
                run(recipe, root)
        now = files(root)
        assert before.items() <= now.items()  # what was there was kept, not written again
        before = now
    done = run(recipe, root)
    assert done.failed == ()
    assert [each.verdict for each in done.judged] == ["holds"]
    assert [step.broken for step in done.steps if step.broken] == []
    assert before.items() <= files(root).items()
    # With all of it there, nothing but the report is written.
    there = files(root)
    again = run(recipe, root)
    assert files(root) == there
    assert again.report == done.report
    assert set(again.evidence) == set(done.evidence)
    for name in done.evidence:
        assert untimed(again.evidence[name]) == untimed(done.evidence[name]), name
    # And never killed at all it is the same, but for places and times.
    whole = run(recipe, str(tmp_path / "other"))
    assert whole.evidence["explanation"] == done.evidence["explanation"]
    assert whole.evidence["evaluation"]["models"] == done.evidence["evaluation"]["models"]
    kept = json.loads(Path(done.report).with_name(page.RECORD).read_text())
    assert [step["digest"] for step in kept["lineage"]][:2] == [
        step.digest for step in whole.steps[:2]
    ]
    assert "Where it comes from" in Path(done.report).read_text()
