"""The pool of actors: the same files whoever writes them, and one line where one cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.model.artifact import ModelArtifact
from pipeline.progress import Progress
from pipeline.sampling import on_ray
from pipeline.sampling.on_ray import Heard, Tally
from pipeline.sampling.plan import make_plan
from pipeline.sampling.run import sample_files
from tests.sampling.conftest import config, here, rows, texts


def test_any_number_of_actors_writes_the_same_files(
    tmp_path: Path, model: ModelArtifact, local_ray: None
) -> None:
    settings = {"temperature": "0.5,1.0", "num_files": 33}
    for workers in (1, 2):
        output = tmp_path / str(workers)
        result = sample_files(config(output, num_workers=workers, **settings), model, "")
        assert (result.files, result.written, result.chars) == (66, 66, 66 * 1500)
    here(tmp_path / "here", model, **settings)
    assert texts(tmp_path / "1") == texts(tmp_path / "2") == texts(tmp_path / "here")
    assert [row["file"] for row in rows(tmp_path / "1")] == [
        f"sample-t{t}-{n:05d}.txt" for t in ("0.5", "1") for n in range(33)
    ]
    assert {path.name for path in (tmp_path / "1").iterdir()} == {
        *texts(tmp_path / "1"),
        "samples.jsonl",
        "settings.json",
    }


def test_bad_input_inside_an_actor_is_the_same_line(
    tmp_path: Path, model: ModelArtifact, local_ray: None
) -> None:
    state = tmp_path / ".partial" / "sample-00000.txt" / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"nothing")
    (tmp_path / "settings.json").write_text(json.dumps(make_plan(config(tmp_path), model).settings))
    with pytest.raises(InputError, match=r"state\.safetensors is damaged") as refused:
        sample_files(config(tmp_path), model, "")
    assert "\n" not in str(refused.value)  # no traceback of Ray's
    with pytest.raises(InputError, match="use_gpu needs GPUs, the cluster has none"):
        sample_files(config(tmp_path / "gpu", use_gpu=True), model, "")


# What is told of progress, without Ray.


class FakeTally:
    """A tally whose calls happen at once, as an actor's handle looks from outside."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.add = self
        self.calls: list[tuple[int, bool]] = []

    def remote(self, chars: int, earlier: bool) -> None:
        self.calls.append((chars, earlier))
        self.tally.add(chars, earlier)


def test_a_tally_counts_since_its_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally()
    tally.add(3, False)
    tally.add(4, False)
    tally.add(5, True)
    assert tally.read() == Heard({False: 7, True: 5}, None)
    clock = [100.0]
    monkeypatch.setattr(on_ray.time, "monotonic", lambda: clock[0])
    tally.begin()
    clock[0] += 4
    tally.begin()  # another writer
    assert tally.read() == Heard({False: 0, True: 0}, 4.0)


def test_a_writer_does_not_tell_of_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(on_ray.time, "monotonic", lambda: clock[0])
    tally = FakeTally()
    teller = on_ray._Teller(tally)
    teller(3, False)  # the first at once
    assert tally.calls == [(3, False)]
    teller(4, False)
    teller(5, True)
    clock[0] += 1.9
    teller(1, False)
    assert len(tally.calls) == 1
    clock[0] += 0.1
    teller(1, False)
    assert tally.calls[1:] == [(6, False), (5, True)]
    teller(2, True)
    teller.send()  # the rest, at the end of a task
    assert tally.calls[3:] == [(2, True)]
    teller.send()
    assert len(tally.calls) == 4


class FakeReading:
    """What an actor's `read` gives: the readings one after another, then nothing more."""

    def __init__(self, *readings: Heard | Exception) -> None:
        self.readings = list(readings)
        self.read = self

    def remote(self) -> Any:
        return self.readings.pop(0) if self.readings else Heard({False: 0, True: 0}, 9.0)


def test_the_driver_shows_what_the_tally_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def get(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    monkeypatch.setattr(ray, "get", get)
    begun: list[tuple[float, float]] = []
    progress = Progress("sample m", 100, "chars")
    monkeypatch.setattr(progress, "begin", lambda ago_s: begun.append((progress.done, ago_s)))
    watch = on_ray._TallyWatch(
        FakeReading(
            Heard({False: 0, True: 0}, None),
            Heard({False: 0, True: 20}, 1.5),
            Heard({False: 30, True: 0}, 3.5),
            ray.exceptions.RayError("its node is gone"),
            Heard({False: 5, True: 0}, 5.5),
        ),
        progress,
    )
    for _ in range(5):
        watch._read()
    watch.stop()
    assert not watch.thread.is_alive()
    assert progress.done == 55
    assert progress.start == 20  # of an earlier run: no part of the rate
    assert begun == [(0, 1.5)]  # since the writers began: what came before was start-up
