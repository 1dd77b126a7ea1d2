"""Score models on a text, beside compressors and n-gram models of the same bytes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

try:
    from jobs.command import Common, Job, Parser, announce, late
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from pipeline import storage
from pipeline.errors import InputError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.tasks import Runner, ray_runner, run_here

log = logging.getLogger("unreasonable")


def evaluate(config: EvaluateConfig, common: Common) -> dict[str, Any]:
    # Late: numba and pyarrow take a second, and a wrong setting should not wait for them.
    from pipeline.evaluation.documents_job import run_documents
    from pipeline.evaluation.run import run_evaluation

    @contextlib.contextmanager
    def session(output: str) -> Iterator[Runner]:
        announce("evaluate", config)
        if config.num_workers == 1:
            yield run_here
            return
        from cluster.connect import node_count, ray_session

        with ray_session(dashboard=False):
            storage.check_reachable_by(output, node_count(), option="--output")
            yield ray_runner(config.num_workers)

    if config.per_document:
        return run_documents(config, common.root, session).to_json()
    run = run_evaluation(config, common.root, session, kinds(common))
    for score in run.evaluation.models:
        log.info("%s: %.4f bits per byte", score.model, score.bits_per_byte)
    log.info("report: %s", run.report)
    return run.to_json()


def kinds(common: Common) -> dict[str, str]:
    """What kind of text the recipe's corpus is."""
    corpus = common.recipe["corpus"].get("name")
    return {corpus: str(common.recipe.get("kind", ""))} if corpus else {}


def decode(settings: dict[str, Any], common: Common) -> dict[str, Any]:
    """Turn a proof file into its text again."""
    output = settings.get("output", "")
    if not output:
        raise InputError("--decode needs --output, the URL of the text to write.")
    if common.flags["print_config"]:
        raise InputError("--decode evaluates nothing, so --print_config has nothing to print.")
    from pipeline.evaluation import proof
    from pipeline.registry.fetch import fetch_model

    model = fetch_model(settings["model"], common.root)
    url = storage.absolute(common.flags["decode"])
    output = storage.absolute(output)
    if common.flags["dry_run"]:
        header = proof.open_proof(url, model).header
        log.info("%s: would have %s bytes", output, f"{header.text_bytes:,}")
        found = {"output": output, "bytes": header.text_bytes, "sha256": header.text_sha256}
        return {"dry_run": True, **found}
    # Decoding may take hours, so what cannot be written is refused before it.
    storage.check_file_writable(output, "--output")
    workers = settings.get("num_workers", 1)
    text = proof.decode(url, model, run=proof.threads(workers))
    storage.write_bytes(output, text)
    log.info("%s: %s bytes, as the proof file's digest says", output, f"{len(text):,}")
    return {"output": output, "bytes": len(text), "sha256": storage.sha256_bytes(text)}


def extra(parser: Parser) -> None:
    parser.add_argument(
        "--decode",
        metavar="FILE",
        default="",
        help="proof file to turn into its text at --output, in place of an evaluation",
    )


JOB = Job(
    description=__doc__ or "",
    section="evaluate",
    config_class=EvaluateConfig,
    run=evaluate,
    extra=extra,
    instead={"decode": decode},
    plan=late("jobs.plans", "evaluate_plan"),
)
main = JOB.main

if __name__ == "__main__":
    main()
