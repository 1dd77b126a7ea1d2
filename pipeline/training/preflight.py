"""Checks of a training run: everything that can be said before workers start. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipeline import storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.corpora.retention import START
from pipeline.errors import InputError
from pipeline.training.config import ENDS, MAY_CHANGE, TrainConfig
from pipeline.training.lanes import LanePlan

RUN = "run.json"  # written when a run has ended: what it came to


def check_run(config: TrainConfig, root: str) -> Corpus:
    """Open the run's corpus and check its splits against the run's lanes, and that a run to resume is there.

    Raises InputError with the next move.
    """
    if config.resume:
        check_same_settings(started(root, config.resume)["config"], config)
    corpus = open_corpus(root, config.corpus)
    LanePlan(corpus.tokens_in("train"), config.global_batch_size, config.seq_len)
    val = corpus.tokens_in("val")
    if val < 2:
        raise InputError(f"corpus {corpus.name} has {val} val tokens; evaluation needs 2: build it with a larger --val share.")
    for split in ("train", "val"):
        corpus.open_split(split, verify=config.verify)
    storage.check_writable(storage.join(root, "runs"))
    return corpus


def started(root: str, run_id: str) -> dict[str, Any]:
    """What a run was started with: {corpus, recipe, config}. An unknown or finished run is an InputError."""
    run_url = storage.join(root, "runs", run_id)
    if not storage.exists(storage.join(run_url, START)):
        known = ", ".join(storage.names(storage.join(root, "runs"))[-5:]) or "none"
        raise InputError(f"no run {run_id!r} under {root}; the newest are: {known}.")
    if storage.exists(storage.join(run_url, RUN)):
        raise InputError(f"run {run_id} is finished; start a new run, or sample its model.")
    return dict(storage.read_json(storage.join(run_url, START)))


def check_same_settings(were: dict[str, Any], config: TrainConfig) -> None:
    """Raise InputError unless a run with settings `were` may go on with `config`."""
    now = asdict(config)
    free = MAY_CHANGE | (ENDS if config.schedule != "cosine" else {"max_minutes"})
    if changed := [key for key, value in were.items() if key not in free and now.get(key) != value]:
        was = ", ".join(f"--{key} {were[key]}" for key in changed)
        raise InputError(f"a resumed run keeps its settings; this one had {was}. Give these, or start a new run.")
