"""What a run goes on from: its newest checkpoint that is whole, and the journal up to it."""

from __future__ import annotations

import logging

from pipeline import runs, storage
from pipeline.errors import DamagedError
from pipeline.training.checkpoint import CheckpointState
from pipeline.training.journal import Journal

log = logging.getLogger("unreasonable")


def newest_whole(run: str) -> str:
    """Name of the newest checkpoint of a run whose every file has its digest; "" without any.

    Newer ones that are damaged are named in a warning and set aside: their steps are made again,
    and nobody may take them for the run's newest. Only who holds the run may call this.
    """
    names = runs.complete(run)
    damages: dict[str, str] = {}
    for name in reversed(names):
        reason = runs.damage(storage.join(run, name))
        if not reason:
            break
        damages[name] = reason
    else:
        if names:
            raise DamagedError(
                f"none of the {len(names)} checkpoints of {run} is whole: {damages[names[-1]]}; "
                "restore one, or start a new run."
            )
        return ""
    for reason in damages.values():
        log.warning("damaged checkpoint: %s", reason)
    if damages:
        log.warning("going on from %s instead of %s", name, names[-1])
    for damaged in damages:
        runs.set_aside(run, damaged)
    return name


def read_journal(run: str, state: CheckpointState) -> Journal:
    """The journal of a run as of a checkpoint's state.

    Of a damaged one the rows are kept that an older checkpoint vouches for. The model has learned
    from the steps of the others all the same, so the run goes on without their rows.
    """
    url = storage.join(run, runs.METRICS)
    try:
        data = storage.read_bytes(url)
    except FileNotFoundError:
        data = b""
    try:
        return Journal.at(state.journal, data, url)
    except DamagedError:
        kept, step = _vouched_for(run, state, data)
    log.warning(
        "%s is damaged: the rows of steps %d to %d are lost; going on without them",
        url,
        step + 1,
        state.step,
    )
    return kept


def _vouched_for(run: str, newest: CheckpointState, data: bytes) -> tuple[Journal, int]:
    """The longest beginning of a journal that an older checkpoint's digest is true of; its step."""
    for name in reversed(runs.complete(run)):
        url = storage.join(run, name)
        if runs.step_of(name) >= newest.step:
            continue
        try:
            state = CheckpointState.read(url)
            return Journal.at(state.journal, data, url), state.step
        except DamagedError:
            continue
    return Journal(), 0
