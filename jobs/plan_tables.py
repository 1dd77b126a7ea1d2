"""Forecasts as rows of a table for people: what, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.progress import bytes_of, duration

if TYPE_CHECKING:
    from pipeline.corpora.forecast import CorpusForecast
    from pipeline.estimates import Estimate
    from pipeline.evaluation.documents_job import DocumentsPlan
    from pipeline.evaluation.plan import Plan
    from pipeline.explaining.run import ExplainPlan
    from pipeline.sampling.forecast import SampleForecast
    from pipeline.training.forecast import TrainForecast

Row = tuple[str, str]


def time_of(seconds: Estimate | None) -> str:
    return f"about {duration(seconds.value)}" if seconds else "not estimated"


def corpus_rows(found: CorpusForecast) -> list[Row]:
    rows = []
    for source in found.sources:
        packed = f", {bytes_of(source.packed_bytes)} packed" if source.packed_bytes else ""
        about = "" if source.whole else "about "
        left_out = f"{source.excluded:,} excluded, {source.skipped:,} skipped"
        holds = f"{about}{source.documents:,} documents, {about}{bytes_of(source.bytes)}{packed}"
        names = ", ".join(source.names)
        rows.append((source.source, f"{source.kind}: {holds}; {left_out}; {names}"))
    about = "" if found.whole and found.cut else "about "
    splits = ", ".join(f"{name} {about}{count:,}" for name, count in found.tokens.items())
    rows += [("tokens", splits), ("vocabulary", f"{found.vocab_size:,} {found.unit}s")]
    if not found.builds:
        return [*rows, ("there already", f"version {found.version} is up to date: no build")]
    rows += [("changed", change) for change in found.changes]
    rows.append(
        ("disk", f"{bytes_of(found.disk_bytes)}, {bytes_of(found.staging_bytes)} meanwhile")
    )
    rows += [("would remove", version) for version in found.removed]
    rows += [("warning", warning) for warning in found.warnings]
    return [*rows, ("time", time_of(found.seconds))]


def evaluate_rows(found: Plan) -> list[Row]:
    rows = [("text", f"{found.text.origin.source}: {found.text.origin.bytes:,} bytes")]
    for model in found.models:
        unknown = f"{model.read.unknown.symbols:,} symbols unknown"
        rows.append(("model", f"{model.name}: {model.precision}, {unknown}"))
    rows.append(("training text", f"{len(found.train):,} bytes for what stands beside"))
    rows.append(("beside the scores", ", ".join(found.config.studies) or "nothing"))
    return [*rows, ("output", found.output)]


def document_rows(found: DocumentsPlan) -> list[Row]:
    return [
        ("text", f"every document of {found.text}"),
        ("model", f"{found.model.uri}: {found.precision}"),
        ("output", found.output),
    ]


def explain_rows(found: ExplainPlan) -> list[Row]:
    rows = [("model", found.model.uri)]
    if found.text:
        origin = found.text.origin
        rows.append(("text", f"{origin.source}: {origin.bytes:,} bytes, as {found.kind}"))
    return [*rows, ("output", found.output)]


def train_rows(found: TrainForecast) -> list[Row]:
    text = found.text
    about = "" if text.whole else "about "
    rows = [
        (
            "corpus",
            f"{text.name}@{text.version or '(to be built)'}: {about}{text.train_tokens:,} tokens",
        ),
        ("model", f"{found.model}: {about}{found.parameters:,} parameters"),
        ("lanes", f"{found.lanes} over {len(found.lanes_by_worker)} workers"),
        (
            "steps",
            f"{found.steps:,} of {found.total_steps:,}, {about}{found.steps_per_epoch:,} an epoch",
        ),
        ("ends", "; ".join(found.ends)),
        ("checkpoints", f"{found.checkpoints}; {bytes_of(found.checkpoint_bytes)}"),
        ("memory", f"about {bytes_of(found.memory.total)} a worker"),
    ]
    if found.same_settings:
        rows.append(("there already", f"{found.same_settings} was trained with these settings"))
    if found.resumed:
        rows.append(("resumes", f"{found.resumed.run_id} at step {found.resumed.step:,}"))
    rows += [("warning", warning) for warning in found.warnings]
    return [*rows, ("time", time_of(found.seconds))]


def sample_rows(found: SampleForecast) -> list[Row]:
    size = bytes_of(found.bytes.value)
    version = "" if found.version else " (still to be trained)"
    rows = [
        ("model", f"{found.model}{version}, {found.precision}, {found.parameters:,} parameters"),
        ("output", found.output or "named after the model's version"),
        ("files", f"{found.files:,}, of which {found.kept:,} are there; about {size}"),
        ("characters", f"{found.characters:,} to sample"),
    ]
    rows += [("goes on", f"{one.file} from {one.characters:,}") for one in found.begun]
    if found.removed:
        rows.append(("would remove", ", ".join(found.removed)))
    return [*rows, ("time", time_of(found.seconds))]
