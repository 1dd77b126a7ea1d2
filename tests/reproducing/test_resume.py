"""Which run a recipe takes up: a dead process's own, never one that may be alive."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline import runs, storage
from pipeline.corpora.manifest import Corpus
from pipeline.errors import DamagedError
from pipeline.model.about import CorpusReference
from pipeline.reproducing.resume import Owner, take_up
from pipeline.training.config import TrainConfig
from pipeline.training.preflight import RunStart
from tests.registering import untrained

CONFIG = TrainConfig(corpus="texts", num_layers=1, hidden_size=8, max_steps=30)


def left(root: str, corpus: Corpus, run_id: str, *, checkpoint: bool = True, **changes: Any) -> str:
    """A run that was cut off. `changes` are of its settings, or of its start."""
    of_start = {key: changes.pop(key) for key in ("recipe", "fingerprint") if key in changes}
    fingerprint = of_start.get("fingerprint", corpus.fingerprint)
    reference = CorpusReference(corpus.name, corpus.version, fingerprint)
    config = dataclasses.replace(CONFIG, **changes)
    url = runs.run_url(root, run_id)
    RunStart(reference, of_start.get("recipe", "mine"), asdict(config)).write(url)
    if checkpoint:
        name = runs.checkpoint_name(10)
        runs.write_checkpoint(storage.join(url, name), untrained(corpus, 8))
    return url


def owner(root: str, pid: int, *, host: str = "", started: float = 1.0) -> Path:
    file = Path(root, "reproductions", "mine.json")
    file.parent.mkdir(exist_ok=True)
    me = Owner.of_this_process()
    file.write_text(json.dumps({"host": host or me.host, "pid": pid, "started": started}))
    return file


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_killed_recipe_goes_on_in_its_newest_run(tmp_path: Path, corpus: Corpus) -> None:
    root = str(tmp_path)
    left(root, corpus, "run-1")
    left(root, corpus, "run-2")
    left(root, corpus, "run-3", checkpoint=False)  # nothing to go on from
    file = owner(root, dead_pid())
    taken = take_up(CONFIG, root, "mine", corpus)
    assert taken == dataclasses.replace(CONFIG, resume="run-2")
    # From now on it is this process that trains.
    assert json.loads(file.read_text()) == asdict(Owner.of_this_process())


def test_a_number_that_another_process_got_is_not_the_old_one(
    tmp_path: Path, corpus: Corpus
) -> None:
    left(str(tmp_path), corpus, "run-1")
    owner(str(tmp_path), os.getpid(), started=5.0)
    assert take_up(CONFIG, str(tmp_path), "mine", corpus).resume == "run-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 9},
        {"max_steps": 31},
        {"recipe": "other"},
        {"fingerprint": "another text"},
    ],
)
def test_a_run_of_anything_else_is_left_alone(
    tmp_path: Path, corpus: Corpus, changes: dict[str, Any]
) -> None:
    left(str(tmp_path), corpus, "run-1", **changes)
    owner(str(tmp_path), dead_pid())
    assert take_up(CONFIG, str(tmp_path), "mine", corpus) == CONFIG


def test_finished_and_damaged_runs_are_passed_over(tmp_path: Path, corpus: Corpus) -> None:
    root = str(tmp_path)
    left(root, corpus, "run-1")
    Path(left(root, corpus, "run-2"), runs.END).write_text("{}")
    Path(left(root, corpus, "run-3"), runs.START).write_text("{}")
    owner(root, dead_pid())
    assert take_up(CONFIG, root, "mine", corpus).resume == "run-1"


def test_a_run_that_may_be_alive_is_not_taken_up(tmp_path: Path, corpus: Corpus) -> None:
    root = str(tmp_path)
    left(root, corpus, "run-1")
    me = Owner.of_this_process()
    # Nobody is known to have started it: a training job of its own may be at work.
    assert take_up(CONFIG, root, "mine", corpus) == CONFIG
    for pid, host in ((os.getppid(), ""), (me.pid, "another-machine")):
        started = me.started
        if not host:
            import psutil

            started = psutil.Process(pid).create_time()
        file = owner(root, pid, host=host, started=started)
        before = file.read_text()
        assert take_up(CONFIG, root, "mine", corpus) == CONFIG
        assert file.read_text() == before


def test_a_run_that_is_named_is_the_one(tmp_path: Path, corpus: Corpus) -> None:
    root = str(tmp_path)
    left(root, corpus, "run-1")
    owner(root, dead_pid())
    named = dataclasses.replace(CONFIG, resume="run-0")
    assert take_up(named, root, "mine", corpus) == named


def test_a_damaged_owner_is_refused_by_its_file(tmp_path: Path, corpus: Corpus) -> None:
    owner(str(tmp_path), 1).write_text("{}")
    with pytest.raises(DamagedError, match=r"mine.json does not say who trains; remove it"):
        take_up(CONFIG, str(tmp_path), "mine", corpus)
