"""The stages of a recipe, one after another. Each finds out by itself what is there already."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline import runs, storage
from pipeline.corpora.build import build_corpus
from pipeline.evaluation.baselines import baselines
from pipeline.registry.fetch import fetch_model, frozen_vocab
from pipeline.reproducing import page
from pipeline.reproducing.claims import judge
from pipeline.reproducing.evidence import Look, evaluated, evolved, explained, kind_of
from pipeline.reproducing.lineage import trace
from pipeline.reproducing.recipe import Recipe
from pipeline.reproducing.result import Reproduction
from pipeline.reproducing.resume import take_up
from pipeline.sampling.job import SampleResult
from pipeline.sampling.run import run_sampling
from pipeline.tasks import Runner
from pipeline.training.finishing import TrainedRun
from pipeline.training.preflight import check_run
from pipeline.training.run import ensure_trained

# Recipe has a file of its own, which imports no engine; who runs stages finds it here.
__all__ = ["Recipe", "Reproduction", "StageTimes", "reproduce"]

PAGES = {
    "report.html": "Evaluation: scores, structure, memorisation",
    "text.html": "A text as the model reads it, and its cells",
    "play.html": "The model in a page: it writes and scores",
    "evolution.html": "What it learned when",
}


@dataclass
class StageTimes:
    """Seconds of each stage since the one before, by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def done(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = round(now - self.began, 1)
        self.began = now


def reproduce(recipe: Recipe, root: str, run: Runner, times: StageTimes) -> Reproduction:
    """Build, train, register, sample, evaluate, explain, judge the claims and write the report.

    Samples come before the evaluation, which checks these very files. Ray must be initialised.
    `run` runs the tasks of the corpus, the evaluation and the explanation.
    """
    # An unchanged source is not read again, a trained model not trained again, files that are there
    # not written again: a recipe that was killed goes on where it was.
    frozen = frozen_vocab(recipe.corpus.vocab_from, root)
    built = build_corpus(recipe.corpus, root, run, frozen=frozen)
    times.done("corpus")
    corpus = check_run(recipe.train, root)
    train = take_up(recipe.train, root, recipe.name, corpus)
    trained = ensure_trained(train, root, recipe.name, corpus)
    if trained.stopped:  # it can be resumed, and has no model before that
        return Reproduction(recipe=recipe.name, root=root, built=built, trained=trained)
    times.done("train")
    sample = dataclasses.replace(recipe.sample, model=_own(recipe.sample.model, recipe, trained))
    # Ray is there already: nothing to enter.
    sampled = run_sampling(sample, root, contextlib.nullcontext).result
    times.done("sample")
    assert trained.val_bits_per_byte is not None
    # Beside what anybody can have without a model, on the same text.
    bits_per_byte = {"model": trained.val_bits_per_byte, **baselines(corpus, "val")}
    evidence: dict[str, Any] = {
        "corpus": built.to_json() | {"fingerprint": corpus.fingerprint},
        "training": trained.to_json(),
        "samples": sampled.to_json(),
        "baselines": bits_per_byte,
    }
    times.done("baselines")
    pages: dict[str, str] = {}
    for name, look in _looks(recipe, root, run, trained, sampled):
        evidence[name] = look.found
        pages |= {_title(url): url for url in look.pages}
        times.done(name)
    done = Reproduction(
        recipe=recipe.name,
        root=root,
        built=built,
        trained=trained,
        sampled=sampled,
        bits_per_byte=bits_per_byte,
        seconds=times.seconds,
        evidence=evidence,
        pages=pages,
        judged=judge(recipe.claims, evidence),
        steps=trace(sampled.samples, fetch_model(sample.model, root), trained.run, corpus),
    )
    return _reported(done, recipe, times)


def _looks(
    recipe: Recipe, root: str, run: Runner, trained: TrainedRun, sampled: SampleResult
) -> Iterator[tuple[str, Look]]:
    """The stages that look at the model, as they are asked for: each runs when it is its turn."""
    corpus = recipe.corpus.name
    if storage.names(storage.join(trained.run, runs.SAMPLES)):
        yield "evolution", evolved(trained.run, root)
    if recipe.evaluate:
        evaluate = dataclasses.replace(
            recipe.evaluate, model=_own(recipe.evaluate.model, recipe, trained)
        )
        kind = kind_of(evaluate.kind, recipe.kind, corpus)
        yield "evaluation", evaluated(evaluate, kind, root, run, sampled)
    if recipe.explain:
        explain = dataclasses.replace(
            recipe.explain, model=_own(recipe.explain.model, recipe, trained)
        )
        kind = kind_of(explain.kind, recipe.kind, corpus)
        yield "explanation", explained(explain, kind, root, run)


def _reported(done: Reproduction, recipe: Recipe, times: StageTimes) -> Reproduction:
    """Write the report, in a folder named by all that it tells of."""
    shown = [done.trained.model, sorted(done.pages.values()), repr(recipe.claims)]
    assert done.sampled is not None
    shown.append(done.sampled.samples)
    digest = storage.sha256_bytes(json.dumps(shown).encode())[:6]
    folder = storage.join(done.root, "reproductions", f"{done.recipe}-{digest}")
    # The page shows the seconds of the stages before it, the job's line its own as well.
    url = page.write(dataclasses.replace(done, report=storage.join(folder, page.PAGE)), folder)
    times.done("report")
    return dataclasses.replace(done, report=url)


def _title(url: str) -> str:
    """What a page is called in the report."""
    file = url.rsplit("/", 1)[-1]
    return PAGES.get(file, file)


def _own(reference: str, recipe: Recipe, trained: TrainedRun) -> str:
    """The model that was trained, unless the recipe names another one.

    It need not have become champion: the report is about this model, so the samples are too.
    """
    own = f"models:/{recipe.name}@champion"
    return trained.model if reference == own else reference
