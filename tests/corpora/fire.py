"""Several builders and pruners of one corpus at once, some of them killed: what is left is whole.

    python -m tests.corpora.fire ROOT --rounds 200 --seed 1

Prints a line for each promise that was broken. A process of its own, because it forks: its children
are builds that need no second to import anything.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from pipeline import storage
from pipeline.corpora import history, leases, retention
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import corpus_url, latest, open_corpus
from pipeline.corpora.verify import verify

NAME = "c"
KEEP = 2
TEXTS = 4  # few, so that texts come back while their versions are on their way out
OLD = 1_600_000_000  # a modification time that is trusted


def config(root: Path, source: str) -> CorpusConfig:
    # Small shards: a version of several files can be half there.
    return CorpusConfig(name=NAME, source=str(root / source), val=0.1, test=0.0, shard_bytes=1024)


def rewrite(root: Path, source: str, number: int) -> None:
    folder = root / source
    folder.mkdir(exist_ok=True)
    for document in range(3):
        path = folder / f"{document}.txt"
        path.write_bytes(b"text %d of document %d\n" % (number, document) * 80)
        os.utime(path, (OLD + number, OLD + number))


def building(root: Path, source: str, *, force: bool) -> Callable[[], None]:
    def build() -> None:
        build_corpus(config(root, source), str(root), force=force)
        retention.prune(str(root), NAME, KEEP)

    return build


def started(action: Callable[[], None]) -> int:
    """A child that runs an action; its exit status is 1 when that raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        action()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def one_round(root: Path, random: random.Random) -> list[str]:
    """Run some builders and a pruner side by side; returns what is wrong afterwards."""
    actions = []
    for source in ("a", "b"):
        rewrite(root, source, random.randrange(TEXTS))
        actions.append(building(root, source, force=random.random() < 0.3))
    if random.random() < 0.5:
        actions.append(lambda: retention.prune(str(root), NAME, KEEP) and None)
    children = [started(action) for action in actions]
    victims = {random.choice(children)} if random.random() < 0.5 else set()
    time.sleep(random.random() * 0.08)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    wrong = []
    for child in children:
        _, status = os.waitpid(child, 0)
        if status and child not in victims:
            wrong.append(f"a child ended with status {status}")
    return wrong + faults(root, was_killed=bool(victims))


def faults(root: Path, *, was_killed: bool) -> list[str]:
    """What is wrong with the corpus: LATEST must name what is whole.

    A build that is killed right behind LATEST has recorded nothing: the next one does.
    """
    try:
        newest = latest(str(root), NAME)
        if newest is None:
            return [] if was_killed else ["no LATEST"]
        verify(open_corpus(str(root), NAME))
        if was_killed:
            return []
        record = history.origin(str(root), NAME)
        recorded = record.version if record else None
        wrong = [] if recorded == newest else [f"sources.json has {recorded}, LATEST {newest}"]
        folders = [path for path in Path(corpus_url(str(root), NAME)).iterdir() if path.is_dir()]
        whole = [path for path in folders if (path / "manifest.json").exists()]
        # What a killed build was writing stays until its lease has run out.
        allowed = KEEP + len(leases.claimed(str(root)))
        return wrong if len(whole) <= allowed else [*wrong, f"{len(whole)} versions are left"]
    except Exception:
        return [traceback.format_exc()]


def litter(root: Path) -> list[str]:
    """What is left of killed builds when two others have swept, two days later."""
    then = time.time() - 48 * 3600
    for lease in root.glob("corpora/.staging/*/lease.json"):
        lease.write_text(json.dumps({"expires": then}))
    for path in (root / "corpora").rglob("*"):
        os.utime(path, (then, then))
    sweepers = [started(building(root, "a", force=False)) for _ in range(2)]
    wrong = []
    for child in sweepers:
        _, status = os.waitpid(child, 0)
        if status:
            wrong.append(f"a sweeper ended with status {status}")
    corpora = root / "corpora"
    left = [*corpora.glob(".staging/*"), *corpora.rglob(f"{storage.TEMPORARY}*")]
    folders = [path for path in (corpora / NAME).iterdir() if path.is_dir()]
    left += [path for path in folders if not (path / "manifest.json").exists()]
    wrong += [f"{path} is left" for path in left]
    return wrong if len(folders) <= KEEP else [*wrong, f"{len(folders)} versions are left"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random_numbers = random.Random(options.seed)
    wrong = 0
    for number in range(options.rounds):
        for fault in one_round(options.root, random_numbers):
            wrong += 1
            print(f"round {number}: {fault}", flush=True)
    for fault in litter(options.root):
        wrong += 1
        print(f"afterwards: {fault}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
