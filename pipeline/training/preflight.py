"""Checks of a training run: everything that can be said before workers start. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus, open_corpus
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference
from pipeline.training.config import ENDS, MAY_CHANGE, TrainConfig
from pipeline.training.lanes import LanePlan

START_FORMAT = 1


@dataclass(frozen=True)
class RunStart:
    """start.json: what a run was started with.

    `recipe` is the model's name, `config` all settings, resolved.
    """

    corpus: CorpusReference
    recipe: str
    config: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"format": START_FORMAT, **asdict(self)}

    @classmethod
    def read(cls, run: str) -> RunStart:
        """The start of the run whose folder is at a URL."""
        url = storage.join(run, runs.START)
        value = storage.read_json(url)
        try:
            corpus = CorpusReference.from_json(value["corpus"])
            return cls(corpus, value["recipe"], dict(value["config"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"{url} is not what a run starts with ({error}); restore it."
            ) from None

    def write(self, run: str) -> None:
        storage.write_json(storage.join(run, runs.START), self.to_json())


def check_run(config: TrainConfig, root: str) -> Corpus:
    """Open the run's corpus, and check that the run can start, or go on.

    Its splits are checked against the run's lanes, and a run to resume must be there. Raises
    InputError with the next move.
    """
    corpus = open_corpus_of(config, root)
    storage.check_writable(runs.runs_url(root))
    return corpus


def open_corpus_of(config: TrainConfig, root: str, *, shards: bool = True) -> Corpus:
    """`check_run` without the root's part. Without `shards` none is opened: remote ones would be
    fetched into the node's cache.
    """
    # First: it reads one small file, opening a corpus may fetch shards.
    if config.resume:
        check_same_settings(started(root, config.resume).config, config)
    corpus = open_corpus(root, config.corpus)
    LanePlan(corpus.tokens_in("train"), config.global_batch_size, config.seq_len)
    val = corpus.tokens_in("val")
    if val < 2:
        raise InputError(
            f"corpus {corpus.name} has {val} val tokens; evaluation needs 2: "
            "build it with a larger --val share."
        )
    # Here, so that a damaged shard is one clear line and not an error of every worker.
    for split in ("train", "val") if shards else ():
        corpus.open_split(split, verify=config.verify)
    return corpus


def started(root: str, run_id: str) -> RunStart:
    """What a run was started with. An unknown or finished run is an InputError."""
    run = runs.run_url(root, run_id)
    if not runs.is_run(run):
        newest = storage.names(runs.runs_url(root))[-5:]
        known = ", ".join(newest) or "none"
        raise InputError(f"no run {run_id!r} under {root}; the newest are: {known}.")
    if storage.exists(storage.join(run, runs.END)):
        raise InputError(f"run {run_id} is finished; start a new run, or sample its model.")
    return RunStart.read(run)


def check_same_settings(before: dict[str, Any], config: TrainConfig) -> None:
    """Raise InputError unless a run with settings `before` may go on with `config`.

    How long a run goes on may change, but not under a schedule that is drawn towards the end: there
    it would change steps that have been made. `max_minutes` is no such end.
    """
    now = asdict(config)
    # By the names of before: a run of an older version may lack a setting that there is now.
    ends = {"max_minutes"} if config.schedule == "cosine" else ENDS
    may_change = MAY_CHANGE | ends
    changed = [
        name for name, value in before.items() if name not in may_change and now.get(name) != value
    ]
    if changed:
        were = ", ".join(f"--{name} {before[name]}" for name in changed)
        raise InputError(
            f"a resumed run keeps its settings; this one had {were}. "
            "Give these, or start a new run."
        )
