"""A run's folder: what its files are called, and which checkpoint is complete, newest, best.

    <root>/runs/<run_id>/start.json              what the run was started with; written first
    <root>/runs/<run_id>/init/                   with init_from: the model that it starts from
    <root>/runs/<run_id>/metrics.jsonl           a row a step, as of the newest checkpoint
    <root>/runs/<run_id>/checkpoint-00000500/    complete when its digests.json is there
    <root>/runs/<run_id>/samples/                texts of the model as it learned
    <root>/runs/<run_id>/lease/                  who works at the run: see lease.py
    <root>/runs/<run_id>/trained.json            what the run came to, once it has come to its end
    <root>/runs/<run_id>/run.json                the same, once its model is registered

This file knows names and completeness alone. What is inside a checkpoint is
training/checkpoint.py's business.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError, InputError

log = logging.getLogger("unreasonable")

START = "start.json"
TRAINED = "trained.json"
END = "run.json"
METRICS = "metrics.jsonl"
INIT = "init"
SAMPLES = "samples"
LEASE = "lease"
STATE = "state.json"
DIGESTS = "digests.json"
CHECKPOINT_FORMAT = 2
RUN_ID_VARIABLE = "UNREASONABLE_RUN_ID"
_PREFIX = "checkpoint-"


def new_run_id() -> str:
    """Time and chance: sorts by age, and two runs of one second differ."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def given_run_id(root: str) -> str:
    """The id that $UNREASONABLE_RUN_ID gives a new run; "" without one, and where it is taken.

    A scheduler names its training's run by it: who tries again knows which run to go on with.
    """
    run_id = os.environ.get(RUN_ID_VARIABLE, "")
    is_plain = bool(run_id) and run_id.replace("-", "").isalnum() and run_id.isascii()
    return run_id if is_plain and not is_run(run_url(root, run_id)) else ""


def runs_url(root: str) -> str:
    """The folder of all runs under a root."""
    return storage.join(root, "runs")


def run_url(root: str, run_id: str) -> str:
    return storage.join(runs_url(root), run_id)


def is_run(url: str) -> bool:
    """Whether a folder is a run's: what it was started with is written first."""
    return storage.exists(storage.join(url, START))


def checkpoint_name(step: int) -> str:
    return f"{_PREFIX}{step:08d}"


def step_of(name: str) -> int:
    """The step in a checkpoint's name."""
    return int(name.removeprefix(_PREFIX))


def write_checkpoint(url: str, files: dict[str, bytes]) -> None:
    """Write files and, last, their digests: what makes the folder a checkpoint."""
    for name, data in files.items():
        storage.write_bytes(storage.join(url, name), data)
    # Whoever sees digests.json may read the rest: the files must be there before it.
    digests = {name: storage.sha256_bytes(data) for name, data in files.items()}
    storage.write_json(storage.join(url, DIGESTS), digests)


def complete(run: str) -> list[str]:
    """Names of a run's complete checkpoints, oldest first."""
    folders = [name for name in storage.names(run) if name.startswith(_PREFIX)]
    return [name for name in folders if storage.exists(storage.join(run, name, DIGESTS))]


def newest(run: str) -> str | None:
    """Name of the newest complete checkpoint; None when there is none."""
    names = complete(run)
    return names[-1] if names else None


def best(run: str) -> str | None:
    """Name of the complete checkpoint with the lowest val_loss; None when none was evaluated.

    Of equals it is the earliest.
    """
    names = ranked(run)
    return names[0] if names else None


def ranked(run: str) -> list[str]:
    """Names of the complete checkpoints that were evaluated, the lowest val_loss first.

    One whose state is damaged is warned of and left out: it must not hide the others.
    """
    scored = []
    for name in complete(run):
        try:
            val_loss = read_state(storage.join(run, name))["val_loss"]
        except DamagedError as error:
            log.warning("%s", error)
            continue
        if val_loss is not None and math.isfinite(val_loss):
            scored.append((val_loss, name))
    # Of equal losses the pair with the lower name, which is the earlier step.
    return [name for _, name in sorted(scored)]


def newest_state(run: str) -> tuple[str, dict[str, Any]] | None:
    """Name and state of the newest complete checkpoint whose state is whole; None without one."""
    for name in reversed(complete(run)):
        try:
            return name, read_state(storage.join(run, name))
        except DamagedError:
            continue
    return None


def read_state(checkpoint: str) -> dict[str, Any]:
    """The parsed state.json of the checkpoint at a URL, its digest checked.

    Another format is refused by name.
    """
    url = storage.join(checkpoint, STATE)
    reason = _damage(checkpoint, STATE, _digests(checkpoint))
    if reason:
        raise DamagedError(f"{reason}; restore it, or go on from the checkpoint before.")
    state = storage.read_json(url)
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise InputError(
            f"{checkpoint} is not a format {CHECKPOINT_FORMAT} checkpoint; "
            "go on with the program's version that wrote it."
        )
    return state


def damage(checkpoint: str) -> str:
    """What is wrong with the files of a complete checkpoint; "" where all have their digests.

    Reads every byte. A store that does not answer is no damage, and raises.
    """
    try:
        digests = _digests(checkpoint)
    except DamagedError as error:
        return str(error).rstrip(".")
    reasons = (_damage(checkpoint, name, digests) for name in sorted({STATE, *digests}))
    return next((reason for reason in reasons if reason), "")


def _digests(checkpoint: str) -> dict[str, Any]:
    url = storage.join(checkpoint, DIGESTS)
    digests = storage.read_json(url)
    if not isinstance(digests, dict):
        raise DamagedError(f"{url} is not a table of digests")
    return digests


def _damage(checkpoint: str, name: str, digests: dict[str, Any]) -> str:
    url = storage.join(checkpoint, name)
    try:
        is_right = storage.sha256(url) == digests.get(name)
    except FileNotFoundError:
        return f"{url} is missing"
    return "" if is_right else f"{url} does not have the digest it was written with"


def set_aside(run: str, name: str) -> None:
    """Make a checkpoint incomplete. Its files go with the pruning that follows a newer one."""
    storage.remove(storage.join(run, name, DIGESTS))


def prune(run: str, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and the best.

    A checkpoint disappears with its digests, which go first. What a killed write left behind goes
    too, once a newer checkpoint is complete.
    """
    whole = complete(run)
    if not whole:
        return
    kept: set[str | None] = set(whole)
    if len(whole) > keep:
        # Only then: `best` reads the state of every checkpoint.
        kept = {*whole[-keep:], best(run)}
    for name in storage.names(run):
        # A folder of a later step may be a checkpoint that is being written.
        is_older = name.startswith(_PREFIX) and name < whole[-1]
        if not is_older or name in kept:
            continue
        # In this order: were its removal cut short, what is left must not pass for a checkpoint.
        if name in whole:
            storage.remove(storage.join(run, name, DIGESTS))
        storage.remove_tree(storage.join(run, name))
