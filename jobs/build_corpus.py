"""Build a corpus version from its sources: token shards and a manifest under
<root>/corpora/<name>/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from jobs.command import Common, Job, Parser, announce, late, show_table
except ModuleNotFoundError as missing:  # a Python without the package
    from uninstalled import refuse  # type: ignore[import-not-found]  # it lies beside this file

    refuse(missing)
from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError
from pipeline.progress import bytes_of, duration

if TYPE_CHECKING:
    pass


def flags(parser: Parser) -> None:
    parser.add_count("--num_workers", 0, "read and encode tasks at once; 0: one per CPU")
    parser.add_count("--keep", 3, "versions to keep besides pinned and used ones; 0: all")
    for flag, about in (
        ("--force", "build even if the sources have not changed"),
        ("--verify", "only check every byte of the newest version of --name"),
        ("--list", "only show which versions of which corpora there are"),
    ):
        parser.add_argument(flag, action="store_true", help=about)


def build(config: CorpusConfig, common: Common) -> dict[str, Any]:
    from cluster.connect import node_count, ray_session
    from pipeline.corpora import retention
    from pipeline.corpora.build import build_corpus, up_to_date
    from pipeline.registry.fetch import frozen_vocab
    from pipeline.storage import check_reachable_by, check_writable
    from pipeline.tasks import ray_runner

    for flag in ("num_workers", "keep"):
        if not 0 <= common.flags[flag] < 1 << 31:
            raise InputError(
                f"{flag} is {common.flags[flag]}; it must be at least 0 and below 2**31."
            )
    force = common.flags["force"]
    frozen = frozen_vocab(config.vocab_from, common.root)
    # Looked at before Ray starts, which takes 5-10 s: sources that have not changed take one.
    result = None if force else up_to_date(config, common.root, frozen)
    if result is None:
        check_writable(common.root)
        announce("corpus", config)
        run = ray_runner(common.flags["num_workers"])
        with ray_session(dashboard=False):
            check_reachable_by(common.root, node_count())
            result = build_corpus(config, common.root, run, force=force, frozen=frozen)
    removed = retention.prune(
        common.root, config.name, common.flags["keep"], lambda name: _used_by(common.root, name)
    )
    return {**result.to_json(), "removed": removed}


def _used_by(root: str, name: str) -> dict[str, list[str]]:
    """Versions of a corpus that registered models were trained on, and the models' names.

    retention asks only where there is something to remove: importing mlflow takes 2-3 s.
    """
    from pipeline.registry.models import corpus_references

    return corpus_references(root, name)


def check(values: dict[str, Any], common: Common) -> dict[str, Any]:
    """--verify: read every byte of the newest version and compare it with the manifest."""
    from pipeline.corpora.manifest import open_corpus
    from pipeline.corpora.verify import verify

    corpus = open_corpus(common.root, values["name"])
    return {
        "corpus": corpus.name,
        "version": corpus.version,
        "url": corpus.url,
        "verified_bytes": verify(corpus),
    }


def show(_: dict[str, Any], common: Common) -> dict[str, Any]:
    """--list: a table for people on stderr, the same as JSON on stdout."""
    from pipeline.corpora.retention import catalogue

    rows = [version.row() for version in catalogue(common.root)]
    splits = ("train", "val", "test")
    tokens_head = f"{' / '.join(splits)} tokens"
    table = [("name", "version", "", "text", "documents", "vocabulary", tokens_head, "age")]
    for row in rows:
        marks = " ".join(mark for mark in ("latest", "pinned") if row[mark])
        tokens = " / ".join(f"{row['tokens'][split]:,}" for split in splits)
        vocabulary = f"{row['vocab_size']} {row['unit']}s"
        age = "?" if row["age_s"] is None else duration(row["age_s"])
        table.append(
            (
                row["name"],
                row["version"],
                marks,
                bytes_of(row["bytes"]),
                f"{row['documents']:,}",
                vocabulary,
                tokens,
                age,
            )
        )
    show_table(table)
    return {"root": common.root, "corpora": rows}


JOB = Job(
    description=__doc__ or "",
    section="corpus",
    config_class=CorpusConfig,
    run=build,
    extra=flags,
    instead={"list": show, "verify": check},
    plan=late("jobs.plans", "corpus_plan"),
)
main = JOB.main

if __name__ == "__main__":
    main()
