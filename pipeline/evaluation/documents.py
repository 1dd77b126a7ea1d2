"""Every document scored by itself, as a table: to filter text by a model, to find what does not
belong, to sort by difficulty.

    documents -> groups -> a part file each -> one sorted table -> its manifest

    <output>/documents.parquet        a row a document
    <output>/documents.json           the result; written last
    <output>/documents.work/          part files, the model, staged text: gone at the end

Groups and rows do not depend on who runs the tasks. A job that was killed goes on: a part file is
named after all that decides it, and one that is there is not made again. One job at a time writes
to an output.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import InputError
from pipeline.evaluation.documents_plan import (
    WINDOW,
    Group,
    Settings,
    plan_digest,
    plan_documents,
)
from pipeline.evaluation.documents_rank import ranked, surprise
from pipeline.evaluation.documents_read import (
    CorpusTexts,
    StagedTexts,
    Texts,
    corpus_documents,
    staged_documents,
)
from pipeline.evaluation.documents_result import DocumentsResult, WorstDocument
from pipeline.evaluation.documents_score import ROWS, Part, parquet, score_part
from pipeline.model.about import Precision
from pipeline.model.artifact import ModelArtifact
from pipeline.progress import Progress
from pipeline.tasks import Runner, run_here

log = logging.getLogger("unreasonable")

TABLE = "documents.parquet"
MANIFEST = "documents.json"
WORK = "documents.work"
WORST = 20  # documents that are named
COLUMNS = ROWS.append(pa.field("surprise", pa.float64()))


def score_documents(
    model: ModelArtifact,
    source: Corpus | Sequence[str],
    output: str,
    *,
    splits: Sequence[str] = ("val",),
    precision: Precision = "fp32",
    window: int = WINDOW,
    run: Runner = run_here,
) -> DocumentsResult:
    """Score every document of a corpus's `splits`, or of everything at some URLs, into a table
    under `output`.

    InputError for a source without a document, and for a model that diverged.
    """
    output = storage.absolute(output)
    settings = Settings.of(model, precision, window)
    work = storage.join(output, WORK)
    staging = storage.join(work, "staging")
    storage.check_writable(output, option="--output")
    texts: Texts
    if isinstance(source, Corpus):
        texts = CorpusTexts(source.url)
        documents = corpus_documents(source, splits)
        name = f"{', '.join(splits)} of {source.name}@{source.version}"
        if not documents:
            raise InputError(f"there is no document in {name}; give another --split.")
    else:
        # What a killed job has staged may be half a file, or what lay there then.
        storage.remove_tree(staging)
        texts = StagedTexts(staging)
        documents = staged_documents(source, staging, run)
        name = ", ".join(source)
    groups = plan_documents(documents, settings)
    result = _published(output, plan_digest(groups))
    if result is None:
        _score(groups, texts, model, settings, work, run)
        result = _publish(groups, model, settings, name, output)
    storage.remove_tree(work)
    return result


def _published(output: str, digest: str) -> DocumentsResult | None:
    """The result of an earlier job, if it was the same one, and its table is as it was."""
    manifest = storage.join(output, MANIFEST)
    if not storage.exists(manifest):
        return None
    try:
        result = DocumentsResult.from_json(storage.read_json(manifest))
        same = result.digest == digest and storage.sha256(result.url) == result.sha256
    except (InputError, FileNotFoundError, KeyError, TypeError, ValueError):
        return None  # whatever it is, it is written anew
    if same:
        log.info("documents: %s is up to date", result.url)
    return result if same else None


def _score(
    groups: list[Group],
    texts: Texts,
    model: ModelArtifact,
    settings: Settings,
    work: str,
    run: Runner,
) -> None:
    """Make every part file that is not there."""
    # Once for all tasks: as a part of each it would be sent as often as there are groups.
    folder = storage.join(work, f"model-{settings.model_digest[:16]}")
    for file, data in model.files.items():
        storage.write_bytes(storage.join(folder, file), data)
    digests = tuple(sorted(model.digests.items()))
    parts = storage.join(work, "parts")
    there = set(storage.names(parts))
    missing = [group for group in groups if group.file not in there]
    tasks = [
        Part(
            group.documents,
            texts,
            folder,
            digests,
            settings.precision,
            settings.window,
            storage.join(parts, group.file),
        )
        for group in missing
    ]
    progress = Progress("score documents", sum(group.size for group in groups), "B")
    earlier = sum(group.size for group in groups if group.file in there)
    progress.add(earlier, earlier=True)
    for index, _ in run(score_part, tasks):
        progress.add(missing[index].size)
    progress.finish()


def _publish(
    groups: list[Group], model: ModelArtifact, settings: Settings, name: str, output: str
) -> DocumentsResult:
    """Put the parts together, in order of path and split; then say that the table is there."""
    parts = storage.join(output, WORK, "parts")
    tables = [
        pq.read_table(io.BytesIO(storage.read_bytes(storage.join(parts, group.file))))
        for group in groups
    ]
    table = pa.concat_tables(tables).cast(ROWS)
    table = table.take(pc.sort_indices(table, [("path", "ascending"), ("split", "ascending")]))
    sizes = table["bytes"].to_numpy()
    figures = table["bits_per_byte"].to_numpy(zero_copy_only=False)
    scores = pa.array(surprise(sizes, figures), from_pandas=True)  # nan as null
    table = table.append_column(COLUMNS.field("surprise"), scores)
    data = parquet(table)
    url = storage.join(output, TABLE)
    storage.write_bytes(url, data)
    nats = math.fsum(table["nats"].to_pylist())
    order = ranked(sizes, figures)[:WORST]
    names = list(WorstDocument.__dataclass_fields__)
    worst = table.select(names).take(pa.array(order, pa.int64())).to_pylist()
    result = DocumentsResult(
        url=url,
        model=f"{model.name} version {model.version}",
        text=name,
        precision=settings.precision,
        window=settings.window,
        rows=len(table),
        bytes=int(sizes.sum()),
        symbols=int(np.sum(table["symbols"].to_numpy())),
        unknown=int(np.sum(table["unknown"].to_numpy())),
        bits_per_byte=nats / math.log(2) / max(1, int(sizes.sum())),
        worst=tuple(WorstDocument(**row) for row in worst),
        digest=plan_digest(groups),
        sha256=storage.sha256_bytes(data),
    )
    storage.write_json(storage.join(output, MANIFEST), result.to_json())
    return result
