"""Checks of a training run that need no engine: everything that can be said before workers start. Imports no torch."""

from __future__ import annotations

from pipeline import storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import InputError
from pipeline.training.config import TrainConfig
from pipeline.training.lanes import LanePlan

RUN = "run.json"  # written when a run has ended: what it came to


def check_run(config: TrainConfig, root: str) -> Corpus:
    """Open the run's corpus and check its splits against the run's lanes, and that a run to resume is there.

    Raises InputError with the next move.
    """
    corpus = open_corpus(root, config.corpus)
    LanePlan(corpus.tokens_in("train"), config.global_batch_size, config.seq_len)
    val = corpus.tokens_in("val")
    if val < 2:
        raise InputError(f"corpus {corpus.name} has {val} val tokens; evaluation needs 2: build it with a larger --val share.")
    if config.resume:
        run_url = storage.join(root, "runs", config.resume)
        if not storage.names(run_url):
            known = ", ".join(storage.names(storage.join(root, "runs"))[-5:]) or "none"
            raise InputError(f"no run {config.resume!r} under {root}; the newest are: {known}.")
        if storage.exists(storage.join(run_url, RUN)):
            raise InputError(f"run {config.resume} is finished; start a new run, or sample its model.")
    return corpus
