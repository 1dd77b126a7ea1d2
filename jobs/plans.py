"""--dry_run: what a job would do, as a table for people on stderr and as its JSON result.

No engine starts, and nothing is written. Bad input is refused as the job refuses it. Each function
asks its room's forecast.py and shows the answer.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.command import Common, announce, show_table
from jobs.plan_tables import (
    Row,
    corpus_rows,
    document_rows,
    evaluate_rows,
    explain_rows,
    sample_rows,
    time_of,
    train_rows,
)
from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.forecast import BuildOptions, CorpusForecast
from pipeline.corpora.forecast import forecast as corpus_forecast
from pipeline.corpora.manifest import latest, split_reference
from pipeline.evaluation.config import EvaluateConfig
from pipeline.explaining.config import ExplainConfig
from pipeline.registry.names import check_recipe_name
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig

if TYPE_CHECKING:
    from pipeline.training.forecast import Text

log = logging.getLogger("unreasonable")

HOUSE = Path(__file__).parent.parent


def corpus_plan(config: CorpusConfig, common: Common) -> dict[str, Any]:
    """What jobs/build_corpus.py would build."""
    from pipeline.registry.fetch import frozen_vocab
    from pipeline.registry.looking import existing_uri

    frozen = frozen_vocab(config.vocab_from, common.root)

    def models(name: str) -> dict[str, list[str]]:
        """Versions that registered models learned, asked only where a version could go."""
        if existing_uri(common.root) is None:
            return {}
        from pipeline.registry.models import corpus_references

        return corpus_references(common.root, name)

    flags = common.flags
    options = BuildOptions(
        num_workers=flags.get("num_workers", 0),
        force=bool(flags.get("force", False)),
        keep=flags.get("keep", 0),
    )
    found = corpus_forecast(config, common.root, options, frozen, models)
    announce("corpus", config)
    _show("corpus", corpus_rows(found))
    return _result(common.root, config, found.to_json())


def train_plan(config: TrainConfig, common: Common) -> dict[str, Any]:
    """What jobs/train.py would train."""
    from pipeline.training.forecast import forecast

    check_recipe_name(_model_name(config, common))
    text, corpus = _text(config, common)
    found = forecast(config, common.root, _model_name(config, common), text, _cpus())
    announce("train", config)
    if corpus:
        _show("corpus", corpus_rows(corpus))
    _show("train", train_rows(found))
    extra = {"builds_corpus": corpus.to_json()} if corpus else {}
    return _result(common.root, config, found.to_json()) | extra


def sample_plan(config: SampleConfig, common: Common) -> dict[str, Any]:
    """What jobs/sample.py would write."""
    from pipeline.sampling.forecast import forecast

    found = forecast(config, common.root)
    announce("sample", config)
    _show("sample", sample_rows(found))
    return _result(common.root, config, found.to_json())


def evaluate_plan(config: EvaluateConfig, common: Common) -> dict[str, Any]:
    """What jobs/evaluate.py would score."""
    from jobs.evaluate import kinds
    from pipeline.evaluation.documents_job import prepare_documents
    from pipeline.evaluation.plan import prepare

    if config.per_document:
        documents = prepare_documents(config, common.root)
        announce("evaluate", config)
        _show("evaluate", document_rows(documents))
        return _result(common.root, config, documents.to_json())
    found = prepare(config, common.root, kinds(common))
    announce("evaluate", config)
    _show("evaluate", evaluate_rows(found))
    return _result(common.root, config, found.to_json())


def explain_plan(config: ExplainConfig, common: Common) -> dict[str, Any]:
    """What jobs/explain.py would write."""
    from jobs.evaluate import kinds
    from pipeline.explaining.run import prepare

    found = prepare(config, common.root, kinds(common))
    announce("explain", config)
    _show("explain", explain_rows(found))
    return _result(common.root, config, found.to_json())


def reproduce_plan(config: Any, common: Common) -> dict[str, Any]:
    """What jobs/reproduce.py would do, stage by stage."""
    from jobs.reproduce import recipe_of
    from pipeline.registry.looking import existing_uri
    from pipeline.reproducing.forecast import forecast

    check_recipe_name(common.recipe_name)
    recipe = recipe_of(config, common)
    existing_uri(common.root)  # refuses a remote root without a tracking server
    found = forecast(recipe, common.root, _cpus())
    for section in ("corpus", "train", "sample"):
        announce(section, getattr(recipe, section))
    _show("corpus", corpus_rows(found.corpus))
    _show("train", train_rows(found.train))
    _show("sample", sample_rows(found.sample))
    there = ", ".join(found.skipped) or "nothing"
    looks = [name for name in ("evaluate", "explain") if getattr(recipe, name)]
    rows = [("there already", there), ("time", time_of(found.seconds))]
    rows.append(("also runs", ", ".join(looks) or "-"))
    _show("all", [*rows, ("claims", f"{len(recipe.claims):,}")])
    sections = ("corpus", "train", "sample", *looks)
    settings = {name: asdict(getattr(recipe, name)) for name in sections}
    return {"dry_run": True, "root": common.root, "settings": settings, **found.to_json()}


def models_plan(values: dict[str, Any], root: str) -> dict[str, Any]:
    """What jobs/models.py would do: `values` is its parsed command line, with the action's own
    flags under its name.
    """
    from pipeline.registry.forecast import forecast

    root = storage.absolute(root)
    action = values["action"]
    found = forecast(action, dict(values.get(action) or values), root)
    rows = [("models", ", ".join(found.models)), ("would do", found.does)]
    if found.replaces:
        rows.append(("replaces", found.replaces))
    _show(action, rows)
    return {"dry_run": True, "root": root, **found.to_json()}


def schedule_plan(values: dict[str, Any]) -> dict[str, Any]:
    """What jobs/schedule.py would do at this moment."""
    from pipeline.scheduling.calendar import utc_now
    from pipeline.scheduling.forecast import forecast
    from pipeline.scheduling.load import load_schedules

    root = storage.absolute(values["root"])
    schedules = load_schedules(values.get("schedule") or str(HOUSE / "cluster" / "schedule.yaml"))
    found = forecast(schedules, root, utc_now(), values.get("run_now", ""))
    table = [("schedule", "corpus", "next firings", "root", "")]
    for row in found.schedules:
        firings = ", ".join(row.firings) or "never"
        table.append((row.schedule, row.corpus, firings, row.root, "busy" if row.busy else ""))
    show_table(table)
    for submission in found.now:
        log.info("would submit %s: %s", submission.job_id, submission.command)
    if not found.now:
        log.info("nothing would be submitted now")
    return {"dry_run": True, **found.to_json()}


def _text(config: TrainConfig, common: Common) -> tuple[Text | None, CorpusForecast | None]:
    """The corpus that the training job would build first, as far as its sources tell; (None, None)
    when it is there.
    """
    name, version = split_reference(config.corpus)
    is_own = name == common.recipe["corpus"].get("name")
    # A section that the command line changed may ask for another build of a corpus that is there.
    is_changed = "corpus" in getattr(common, "changed", ())
    if config.resume or version or not is_own:
        return None, None
    if latest(common.root, name) and not is_changed:
        return None, None
    from pipeline.reproducing.forecast import text_of

    section = common.section("corpus", CorpusConfig)
    found = corpus_forecast(section, common.root, BuildOptions())
    return (text_of(found), found) if found.builds else (None, None)


def _model_name(config: TrainConfig, common: Common) -> str:
    """The rule of jobs/train.py: the recipe's name, or that of a corpus that is not its own."""
    name, _ = split_reference(config.corpus)
    is_own = name == common.recipe["corpus"].get("name")
    goes_on = bool(config.resume or config.fork)
    return common.recipe_name if goes_on or is_own else name


def _cpus() -> int | None:
    """A local Ray's processors. A cluster is not asked: each worker has its own there."""
    return None if os.environ.get("RAY_ADDRESS") else os.cpu_count()


def _result(root: str, config: Any, found: dict[str, Any]) -> dict[str, Any]:
    return {"dry_run": True, "root": root, "settings": asdict(config), **found}


def _show(title: str, rows: list[Row]) -> None:
    show_table([(title if at == 0 else "", *row) for at, row in enumerate(rows)])
