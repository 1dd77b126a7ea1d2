"""An evaluation of every document, from end to end: input checked, table and report written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.engine.opening import open_engine
from pipeline.errors import InputError
from pipeline.evaluation import report
from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.documents import score_documents
from pipeline.evaluation.documents_result import DocumentsResult, section
from pipeline.evaluation.plan import REPORT, corpus_of, precision_of
from pipeline.model.about import Precision
from pipeline.model.artifact import WEIGHTS, ModelArtifact
from pipeline.registry.fetch import fetch_model
from pipeline.tasks import Runner


@dataclass(frozen=True)
class DocumentsPlan:
    """What will be scored: the documents of a corpus's split, or those at a URL."""

    model: ModelArtifact
    precision: Precision
    source: Corpus | Sequence[str]
    split: str
    output: str

    @property
    def text(self) -> str:
        if isinstance(self.source, Corpus):
            return f"{self.split} of {self.source.name}@{self.source.version}"
        return ", ".join(self.source)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model.uri,
            "precision": self.precision,
            "text": self.text,
            "output": self.output,
        }


@dataclass(frozen=True)
class DocumentsRun:
    """The table as its job reports it."""

    result: DocumentsResult
    report: str

    def to_json(self) -> dict[str, Any]:
        return self.result.to_json() | {"report": self.report}


def prepare_documents(config: EvaluateConfig, root: str) -> DocumentsPlan:
    """Fetch the model, and refuse what cannot be scored. Writes nothing."""
    if config.models:
        raise InputError("per_document scores one model; leave --models out.")
    for option in ("prove", "dynamic", "samples", "max_bytes"):
        if getattr(config, option):
            raise InputError(
                f"per_document writes a table and no report, so --{option} has no place in it; "
                f"leave --{option} out, or evaluate once more without --per_document."
            )
    model = fetch_model(config.model, root)
    precision = precision_of(config, model)
    open_engine(model, precision)  # files that are no model are refused before Ray starts
    source: Corpus | Sequence[str] = [storage.absolute(config.text)]
    split = ""
    if not config.text:
        corpus = corpus_of(config, model, root)
        assert corpus is not None  # it may lack only where a text is given
        source = corpus
        split = config.split or "val"
    output = storage.absolute(config.output) if config.output else ""
    plan = DocumentsPlan(model, precision, source, split, output)
    if output:
        return plan
    shown = [model.digests[WEIGHTS], precision, plan.text]
    digest = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:6]
    name = f"{model.name}-{model.version}-documents-{digest}"
    return DocumentsPlan(model, precision, source, split, storage.join(root, "evaluations", name))


def run_documents(
    config: EvaluateConfig,
    root: str,
    session: Callable[[str], AbstractContextManager[Runner]],
) -> DocumentsRun:
    """Score every document. `session(output)` is entered once the input is checked."""
    plan = prepare_documents(config, root)
    storage.check_writable(plan.output, option="--output")
    with session(plan.output) as runner:
        result = score_documents(
            plan.model,
            plan.source,
            plan.output,
            splits=[plan.split],
            precision=plan.precision,
            run=runner,
        )
    url = storage.join(plan.output, REPORT)
    html = report.page(f"{plan.model.name}, every document of {plan.text}", [section(result)])
    storage.write_bytes(url, html.encode())
    return DocumentsRun(result, url)
