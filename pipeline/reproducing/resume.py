"""A run that a killed recipe left in the middle: the next time it goes on there.

A recipe that trains writes who it is to <root>/reproductions/<name>.json. Only where that process
is gone is its run taken up: two processes in one run would write each other's checkpoints.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import DamagedError
from pipeline.training.config import TrainConfig, settings_digest
from pipeline.training.preflight import RunStart

log = logging.getLogger("unreasonable")


@dataclass(frozen=True)
class Owner:
    """A process: a number is given to another one some day, its start tells the two apart."""

    host: str
    pid: int
    started: float

    @classmethod
    def of_this_process(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended. Of another machine's process nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            # The start of a process is counted from the machine's, whose clock may be set.
            return abs(psutil.Process(self.pid).create_time() - self.started) > 1.0
        except psutil.NoSuchProcess:
            return True


def take_up(config: TrainConfig, root: str, name: str, corpus: Corpus) -> TrainConfig:
    """The settings, with `resume` where a killed process left a run of them; and this process
    becomes the one that trains.
    """
    url = storage.join(root, "reproductions", f"{name}.json")
    left = _owner(url)
    me = Owner.of_this_process()
    if left is not None and left != me and not left.is_gone:
        log.info(
            "process %d on %s may be training %s still: no run is taken up",
            left.pid,
            left.host,
            name,
        )
        return config
    storage.write_json(url, asdict(me))
    if config.resume or left is None:
        return config
    run_id = unfinished(config, root, name, corpus)
    if not run_id:
        return config
    log.info("run %s was cut off: it goes on from its newest checkpoint", run_id)
    return dataclasses.replace(config, resume=run_id)


def unfinished(config: TrainConfig, root: str, name: str, corpus: Corpus) -> str:
    """The newest run of these settings on this corpus that has a checkpoint and no end; "" for
    none.
    """
    wanted = settings_digest(asdict(config))
    for run_id in reversed(storage.names(runs.runs_url(root))):
        run = runs.run_url(root, run_id)
        if not runs.is_run(run) or storage.exists(storage.join(run, runs.END)):
            continue
        try:
            start = RunStart.read(run)
        except DamagedError:
            continue  # whoever resumes it by name is told; a recipe starts a new one
        is_same = start.recipe == name and start.corpus.fingerprint == corpus.fingerprint
        if is_same and settings_digest(start.config) == wanted and runs.newest(run):
            return run_id
    return ""


def _owner(url: str) -> Owner | None:
    if not storage.exists(url):
        return None
    value: Any = storage.read_json(url)
    try:
        return Owner(str(value["host"]), int(value["pid"]), float(value["started"]))
    except (KeyError, TypeError, ValueError):
        raise DamagedError(f"{url} does not say who trains; remove it.") from None
