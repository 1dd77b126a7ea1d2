"""From a sample back to the source: each artefact with its digest, and each step checked.

sample -> model version -> run -> corpus version -> sources
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.evaluation.section import Section
from pipeline.model.artifact import WEIGHTS, ModelArtifact
from pipeline.training.preflight import RunStart

SHOWN_FILES = 20  # samples, and source documents, by name; all are in the lists that they are from


@dataclass(frozen=True)
class Step:
    """One artefact: what it is, where it lies, the digest that names it, and how it is known to
    come from the step below. `broken` says what does not fit; "" where all does.
    """

    what: str
    where: str
    digest: str
    says: str = ""
    broken: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def trace(samples: str, model: ModelArtifact, run: str, corpus: Corpus) -> tuple[Step, ...]:
    """Every step from the samples listed at a URL down to the digests of source documents."""
    return (
        *_samples(samples, model),
        _model(model, corpus),
        _run(run, corpus),
        _corpus(corpus),
        *_sources(corpus),
    )


def section(steps: tuple[Step, ...]) -> Section:
    rows = [("artefact", "where", "SHA-256", "made from")]
    rows += [(step.what, step.where, step.digest, step.broken or step.says) for step in steps]
    broken = sum(bool(step.broken) for step in steps)
    lead = "Every file down to the source, each by its digest. "
    lead += f"{broken} steps do not fit." if broken else "All steps fit each other."
    return Section(title="Where it comes from", lead=lead, table=tuple(rows))


def _samples(url: str, model: ModelArtifact) -> list[Step]:
    folder = url.rpartition("/")[0]
    steps = []
    for line in storage.read_bytes(url).splitlines()[:SHOWN_FILES]:
        record = json.loads(line)
        where = storage.join(folder, record["file"])
        made = f"{record['model']} {record['version']}"
        broken = ""
        if storage.sha256(where) != record["sha256"]:
            broken = "the file is not the one that the list of samples tells of"
        elif record["weights_sha256"] != model.digests[WEIGHTS]:
            broken = f"it was sampled from {made} of other weights than {model.uri}"
        says = f"{made}, temperature {record['temperature']:g}, seed {record['seed']}"
        steps.append(Step(f"sample {record['file']}", where, record["sha256"], says, broken))
    return steps


def _model(model: ModelArtifact, corpus: Corpus) -> Step:
    learned = model.about.corpus
    broken = ""
    if learned.fingerprint != corpus.fingerprint:
        broken = f"it learned {learned}, which is not the corpus {corpus.name}@{corpus.version}"
    says = f"step {model.about.step:,} of its run, on {learned}"
    return Step(f"model {model.name}", model.uri, model.digests[WEIGHTS], says, broken)


def _run(run: str, corpus: Corpus) -> Step:
    start = RunStart.read(run)
    broken = ""
    if start.corpus.fingerprint != corpus.fingerprint:
        broken = f"it was started on {start.corpus}"
    settings = json.dumps(start.config, sort_keys=True).encode()
    says = f"{start.corpus}, seed {start.config.get('seed')}; the digest is of its settings"
    return Step("run", run, hashlib.sha256(settings).hexdigest(), says, broken)


def _corpus(corpus: Corpus) -> Step:
    manifest = corpus.manifest
    says = f"documents {manifest.documents_sha256}"
    name = f"corpus {corpus.name}@{corpus.version}"
    return Step(name, corpus.url, corpus.fingerprint, says)


def _sources(corpus: Corpus) -> list[Step]:
    """The first source documents by path; documents.arrow, whose digest stands above, has all."""
    table = corpus.documents()
    rows = zip(table["path"].to_pylist(), table["digest"].to_pylist(), strict=True)
    documents = sorted(set(rows))  # one that a split cuts has a row in each
    steps = []
    for path, digest in documents[:SHOWN_FILES]:
        name = path.decode("utf-8", "backslashreplace")
        steps.append(Step("source", name, digest.hex()))
    more = len(documents) - SHOWN_FILES
    if more > 0:
        steps.append(Step("source", f"{more:,} more documents", "", "listed by the corpus"))
    return steps
