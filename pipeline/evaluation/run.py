"""One evaluation from end to end: tasks run, figures made, the report written, MLflow told."""

from __future__ import annotations

import base64
import dataclasses
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.evaluation import report
from pipeline.evaluation.compare import Compared, compare, curve, differences
from pipeline.evaluation.compressors import CompressorScore
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.ngrams import NgramScore
from pipeline.evaluation.plan import NO_KINDS, REPORT, Plan, PlannedModel, Task, prepare
from pipeline.evaluation.result import Evaluation, ModelScore, Stream, Training
from pipeline.evaluation.scores import stream
from pipeline.evaluation.studies import Scene, studies
from pipeline.model.artifact import WEIGHTS, ModelArtifact
from pipeline.progress import Progress
from pipeline.tasks import Runner, run_here

log = logging.getLogger("unreasonable")

REPORT_JSON = "report.json"  # written last: with it, an evaluation is whole

# Enters where the tasks run, a local Ray or a cluster's; gives who runs them.
Session = Callable[[str], AbstractContextManager[Runner]]


@dataclass(frozen=True)
class EvaluationRun:
    """An evaluation as its job reports it."""

    evaluation: Evaluation
    report: str
    report_json: str

    def to_json(self) -> dict[str, Any]:
        value = self.evaluation.to_json()
        for score in value["models"]:
            del score["curve"]  # a hundred numbers that report.json has
        # Places and tables are in report.json too.
        value["studies"] = {study.name: study.key for study in self.evaluation.studies}
        return value | {"report": self.report, "report_json": self.report_json}


def run_evaluation(
    config: EvaluateConfig, root: str, session: Session, kinds: Mapping[str, str] = NO_KINDS
) -> EvaluationRun:
    """Evaluate, and write the report. `session(output)` is entered once the input is checked."""
    return run_plan(prepare(config, root, kinds), root, session)


def run_plan(plan: Plan, root: str, session: Session) -> EvaluationRun:
    """`run_evaluation` of what is prepared: a recipe looks first whether its output is there."""
    storage.check_writable(plan.output, option="--output")
    if plan.config.prove:
        storage.check_file_writable(storage.absolute(plan.config.prove), "--prove")
    with session(plan.output) as runner:
        evaluation = evaluated(plan, root, runner)
    done = write_report(evaluation, plan)
    _tell_registry(plan, evaluation, root)
    return done


def evaluated(plan: Plan, root: str, runner: Runner = run_here) -> Evaluation:
    """The figures of a plan. They do not depend on who runs its tasks."""
    found = _measured(plan, runner)
    compared = _compared(plan, found)
    models = tuple(
        _score(model, plan, compared, index, found.streams[model.name], root)
        for index, model in enumerate(plan.models)
    )
    ngrams = tuple(
        NgramScore(n, figure.bits, figure.interval)
        for n, figure in enumerate(compared.per_byte[len(models) :], start=1)
    )
    names = [model.name for model in plan.models] + [f"{score.n}-gram" for score in ngrams]
    made = Evaluation(
        text=plan.text.origin,
        bootstrap=plan.blocks.bootstrap,
        models=models,
        differences=differences(names, compared),
        compressors=found.compressors,
        ngrams=ngrams,
        training=_training(plan),
        streams=found.streams,
        studies=studies(Scene(plan, found.streams, found.longest_ngram, runner, root)),
    )
    # Nineteen n-gram models are worse than the best one: their differences would tell nothing.
    best = f"{made.best_ngram.n}-gram" if made.best_ngram else ""
    shown = {best, *names[: len(models)]}
    kept = tuple(each for each in made.differences if each.other in shown)
    return dataclasses.replace(made, differences=kept)


def write_report(evaluation: Evaluation, plan: Plan) -> EvaluationRun:
    """Write report.html, then report.json."""
    parts = report.sections(evaluation)
    names = ", ".join(score.model for score in evaluation.models)
    html = report.page(f"{names} on {evaluation.text.source}", parts)
    url = storage.join(plan.output, REPORT)
    storage.write_bytes(url, html.encode())
    json_url = storage.join(plan.output, REPORT_JSON)
    storage.write_json(json_url, evaluation.to_json())
    return EvaluationRun(evaluation, url, json_url)


def perform(task: Task) -> Any:
    """Run one task, wherever it is."""
    return task.run()


@dataclass(frozen=True)
class _Measured:
    """What a plan's tasks gave: streams by model, and nats by n and block (K,)."""

    streams: dict[str, Stream]
    compressors: tuple[CompressorScore, ...]
    ngram_nats: tuple[np.ndarray, ...]
    longest_ngram: np.ndarray | None


def _measured(plan: Plan, runner: Runner) -> _Measured:
    """Run all tasks of a plan, in one go: a cluster has them side by side."""
    lanes = plan.lane_tasks()
    compressors, ngrams = plan.baseline_tasks()
    tasks: list[Task] = [task for own in lanes for task in own]
    tasks += compressors
    tasks += ngrams
    results = iter(_run(tasks, plan, runner))
    streams = {}
    for model, own in zip(plan.models, lanes, strict=True):
        nats = stream(model.read, [next(results) for _ in own], len(model.vocab))
        if not np.isfinite(nats).all():
            raise InputError(
                f"{model.name} gives no numbers on this text: its training diverged; "
                "leave it out, or train it with a lower learning_rate."
            )
        streams[model.name] = Stream(nats, model.read.starts)
    scores = tuple(CompressorScore(**next(results)) for _ in compressors)
    counted = [next(results) for _ in ngrams]
    sums = tuple(np.array(by_block) for each in counted for by_block in each["sums"])
    longest = None
    if plan.config.breakdown and counted:
        longest = np.frombuffer(base64.b64decode(counted[0]["longest"]))
    return _Measured(streams, scores, sums, longest)


def _run(tasks: list[Task], plan: Plan, runner: Runner) -> list[Any]:
    """The results of all tasks, in their order."""
    progress = Progress(f"evaluate {plan.text.origin.source}", len(tasks), "tasks")
    results: list[Any] = [None] * len(tasks)
    for index, result in runner(perform, tasks):
        results[index] = result
        progress.add(1)
    progress.finish()
    return results


def _compared(plan: Plan, found: _Measured) -> Compared:
    """Figures of models, then of n-grams, over the same blocks."""
    blocks = plan.blocks
    streams = found.streams.values()
    nats = [blocks.sums(each.nats, each.starts) for each in streams]
    symbols = [blocks.sums(np.ones(len(each.starts)), each.starts) for each in streams]
    nats += found.ngram_nats
    symbols += [blocks.sizes] * len(found.ngram_nats)
    return compare(nats, symbols, blocks)


def _score(
    model: PlannedModel, plan: Plan, compared: Compared, index: int, own: Stream, root: str
) -> ModelScore:
    per_byte = compared.per_byte[index]
    per_symbol = compared.per_symbol[index]
    about = model.artifact.about
    shapes = about.model.shapes().values()
    return ModelScore(
        model=model.name,
        weights_sha256=model.artifact.digests[WEIGHTS],
        corpus=str(about.corpus),
        parameters=sum(int(np.prod(shape)) for shape in shapes),
        precision=model.precision,
        unit=model.vocab.unit,
        lanes=model.read.lanes,
        symbols=len(own.nats),
        nats=float(own.nats.mean()),
        bits_per_char=per_symbol.bits,
        bits_per_byte=per_byte.bits,
        bits_per_char_interval=per_symbol.interval,
        bits_per_byte_interval=per_byte.interval,
        unknown=model.read.unknown,
        rule=plan.text.origin.rule,
        may_have_learnt=_may_have_learnt(model.artifact, plan, root),
        curve=curve(own, len(plan.text.data)),
    )


def _training(plan: Plan) -> Training | None:
    if not plan.corpus or not plan.train:
        return None
    source = f"train of {plan.corpus.name}@{plan.corpus.version}"
    return Training(source, plan.corpus.bytes_in("train"), len(plan.ngram_train))


def _may_have_learnt(artifact: ModelArtifact, plan: Plan, root: str) -> str:
    """Why a model may know the text already; empty when it cannot."""
    if plan.split == "train":
        return "it is training text"
    if not plan.split:
        return "nobody knows: the text is of no corpus"
    assert plan.corpus is not None
    learned = artifact.about.corpus
    if learned.fingerprint == plan.corpus.fingerprint:
        return ""
    if artifact.uri.startswith("models:"):
        return _registered_may_have_learnt(artifact, plan.corpus, root)
    return f"it learned {learned}, not {plan.corpus.name}@{plan.corpus.version}"


def _registered_may_have_learnt(artifact: ModelArtifact, corpus: Corpus, root: str) -> str:
    # Late: these import mlflow, which a checkpoint's evaluation does without.
    from pipeline.registry.champion import may_have_learnt
    from pipeline.registry.models import Models
    from pipeline.registry.tracking import Tracking

    return may_have_learnt(Models(Tracking(root)).resolve(artifact.uri), corpus)


def _tell_registry(plan: Plan, evaluation: Evaluation, root: str) -> None:
    """Show the figures on the versions of registered models."""
    registered = [
        (model.artifact.uri, score)
        for model, score in zip(plan.models, evaluation.models, strict=True)
        if model.artifact.uri.startswith("models:")
    ]
    if not registered:
        return
    from pipeline.registry.models import Models
    from pipeline.registry.tracking import Tracking, best_effort

    models = Models(Tracking(root))
    text = plan.split or "text"
    for uri, score in registered:
        found = figures(score, text)
        if score is evaluation.models[0]:
            found |= study_figures(evaluation, text)
        with best_effort(f"the scores of {uri}"):
            models.log_evaluation(
                models.resolve(uri), found, evaluation.text.source, evaluation.text.sha256[:32]
            )


def study_figures(evaluation: Evaluation, text: str) -> dict[str, float]:
    """Key figures of studies as metrics by name: `evaluate/val_proof_bytes` and so on."""
    return {
        f"evaluate/{text}_{study.name}_{name}": float(value)
        for study in evaluation.studies
        for name, value in study.key.items()
    }


def figures(score: ModelScore, text: str) -> dict[str, float]:
    """A score as metrics by name: `evaluate/val_bits_per_byte` and so on."""
    found: dict[str, float] = {
        "nats": score.nats,
        "bits_per_char": score.bits_per_char,
        "bits_per_byte": score.bits_per_byte,
        "unknown_symbols": score.unknown.symbols,
    }
    if score.bits_per_byte_interval:
        found["bits_per_byte_low"] = score.bits_per_byte_interval.low
        found["bits_per_byte_high"] = score.bits_per_byte_interval.high
    return {f"evaluate/{text}_{name}": float(value) for name, value in found.items()}
