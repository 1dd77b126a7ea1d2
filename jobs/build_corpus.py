"""Build a corpus version from its sources: token shards and a manifest under <root>/corpora/<name>/."""

from __future__ import annotations

from typing import Any

from jobs.command import Common, Parser, announce, run_command
from pipeline.corpora.config import CorpusConfig


def flags(parser: Parser) -> None:
    parser.add_argument("--num_workers", type=int, default=0, help="read and encode tasks at once; 0: one per CPU")
    parser.add_argument("--force", type=bool, default=False, help="build even if the sources have not changed")


def build(config: CorpusConfig, common: Common) -> dict[str, Any]:
    from cluster.connect import node_count, ray_session
    from pipeline.corpora.build import build_corpus, ray_runner, up_to_date
    from pipeline.storage import check_reachable_by

    if not common.flags["force"] and (summary := up_to_date(config, common.root)):
        return summary
    announce("corpus", config)
    with ray_session():
        check_reachable_by(common.root, node_count())
        return build_corpus(config, common.root, ray_runner(common.flags["num_workers"]), force=common.flags["force"])


if __name__ == "__main__":
    run_command(__doc__ or "", "corpus", CorpusConfig, build, extra=flags)
