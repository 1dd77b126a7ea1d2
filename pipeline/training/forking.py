"""A fork: a new run that begins where another one stands, with other settings of its optimisation.

Its first checkpoint is a copy of the parent's newest whole one, with the new settings in its state.
So a fork goes on as a resumed run does. The setting `fork` names the parent in start.json, in
MLflow's params and in what its models say of their training.
"""

from __future__ import annotations

import dataclasses
import logging

from pipeline import runs, storage
from pipeline.errors import InputError
from pipeline.model.artifact import ARTIFACT, json_bytes, read_files
from pipeline.training.checkpoint import Best, CheckpointState
from pipeline.training.config import TrainConfig, stored_settings
from pipeline.training.healing import Healing
from pipeline.training.resuming import read_journal
from pipeline.training.snapshot import SNAPSHOT

log = logging.getLogger("unreasonable")


def fork_run(parent: str, run: str, config: TrainConfig) -> None:
    """Give a new run, whose folder is `run`, the newest whole checkpoint of its parent."""
    name = _newest_whole(parent)
    url = storage.join(parent, name)
    state = CheckpointState.read(url)
    digests = storage.read_json(storage.join(url, runs.DIGESTS))
    files = read_files(url, tuple(sorted({*ARTIFACT, *digests} - {runs.STATE, SNAPSHOT})))
    # The parent's best stays with the parent: its checkpoint is not in this run's folder.
    best = Best() if state.val_loss is None else Best(state.step, state.val_loss)
    journal = read_journal(parent, state)
    # Nor has the fork anything of its parent's rollbacks: its settings are others.
    own = dataclasses.replace(
        state,
        config=stored_settings(config),
        best=best,
        stale=0,
        journal=journal.state,
        healing=Healing(),
    )
    storage.write_bytes(storage.join(run, runs.METRICS), journal.data)
    runs.write_checkpoint(storage.join(run, name), {**files, runs.STATE: json_bytes(own.to_json())})
    log.info("forked from step %d of %s", state.step, parent)


def _newest_whole(parent: str) -> str:
    """As resuming.newest_whole, but the parent is somebody else's: nothing is set aside."""
    for name in reversed(runs.complete(parent)):
        reason = runs.damage(storage.join(parent, name))
        if not reason:
            return name
        log.warning("damaged checkpoint: %s", reason)
    raise InputError(f"{parent} has no whole checkpoint to fork from; start a new run.")
