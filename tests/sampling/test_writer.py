"""One actor's writing: files appear whole, and long ones go on from where they were saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import storage
from pipeline.engine.opening import open_engine
from pipeline.errors import DamagedError
from pipeline.model.artifact import ModelArtifact
from pipeline.sampling import writer
from pipeline.sampling.job import Job, prepare
from pipeline.sampling.plan import SampleRecord
from pipeline.sampling.writer import Writer
from tests.sampling.conftest import config, here, texts

BLOCK = 256  # characters that a lane writes between two looks of the writer


class StoppedError(Exception):
    """A job that ends where it stands."""


def stop(*given: Any) -> None:
    raise StoppedError


def write(job: Job, tell: Any = lambda chars, earlier: None) -> list[SampleRecord]:
    """Write a job's missing files as one task."""
    engine = open_engine(job.plan.model, job.plan.precision)
    return Writer(job.plan, job.output, engine).write(job.missing, tell)


def partial(folder: Path, number: int = 0) -> Path:
    return folder / ".partial" / f"sample-{number:05d}.txt"


def test_files_are_published_with_their_records(tmp_path: Path, model: ModelArtifact) -> None:
    job = prepare(config(tmp_path, num_files=3, num_chars=700, prime="def "), model, "")
    told: list[tuple[int, bool]] = []
    records = write(job, lambda chars, earlier: told.append((chars, earlier)))
    assert {record.file for record in records} == {f"sample-{n:05d}.txt" for n in range(3)}
    for record in records:
        text = (tmp_path / record.file).read_bytes()
        assert text.startswith(b"def ")
        assert (len(text), record.bytes, record.num_chars) == (704, 704, 700)
        assert record.sha256 == storage.sha256_bytes(text)
        assert 3 < record.mean_nats < 6  # an untrained model's: about log(V)
        stored = json.loads(partial(tmp_path).with_name(f"{record.file}.json").read_text())
        assert stored == record.to_json()
    assert sum(chars for chars, _ in told) == 3 * 700  # primes are not sampled
    assert not any(earlier for _, earlier in told)


def test_more_files_than_lanes_take_turns(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(tmp_path / "side by side", model, num_files=5, num_chars=300)
    monkeypatch.setattr(writer, "LANES", 2)
    job = prepare(config(tmp_path / "in turns", num_files=5, num_chars=300), model, "")
    records = write(job)
    # In the order of their completion, which is theirs: the first ones start first.
    assert [record.number // 2 for record in records] == [0, 0, 1, 1, 2]
    for number in range(5):
        name = f"sample-{number:05d}.txt"
        turns = (tmp_path / "in turns" / name).read_bytes()
        assert turns == (tmp_path / "side by side" / name).read_bytes()


def test_a_stopped_job_goes_on_from_saved_lanes(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"num_files": 5, "num_chars": 6000, "save_every_s": 1e-9}
    here(tmp_path / "whole", model, **{**settings, "save_every_s": 60.0})
    save = Writer._save
    saves = []

    def saving(self: Writer, *given: Any) -> None:
        save(self, *given)
        saves.append(1)
        if len(saves) == 7:
            raise StoppedError

    monkeypatch.setattr(Writer, "_save", saving)
    part = tmp_path / "part"
    with pytest.raises(StoppedError):
        here(part, model, **settings)
    assert not list(part.glob("*.txt"))
    parts = sorted(path.name for path in partial(part, 4).iterdir())
    assert [name[:10] for name in parts] == [*(f"part-{n:05d}" for n in range(7)), "state.safe"]
    monkeypatch.undo()
    fewer = here(part, model, **{**settings, "num_files": 1})
    assert fewer.written == 1
    assert not partial(part).exists()
    assert partial(part, 4).exists()  # others' beginnings stay
    told: list[tuple[int, bool]] = []
    job = prepare(config(part, **settings), model, "")
    write(job, lambda chars, earlier: told.append((chars, earlier)))
    # What was there is not sampled again.
    assert [chars for chars, earlier in told if earlier] == [7 * BLOCK] * 4
    assert sum(chars for chars, _ in told) == 4 * 6000
    here(part, model, **settings)
    assert texts(part) == texts(tmp_path / "whole")
    assert not (part / ".partial").exists()


def test_parts_are_named_by_number_and_content(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs on one output cannot overwrite each other's parts with others."""
    monkeypatch.setattr(Writer, "_publish", stop)
    with pytest.raises(StoppedError):
        here(tmp_path, model, num_files=1, num_chars=3 * BLOCK, save_every_s=1e-9)
    for path in partial(tmp_path).glob("part-*"):
        assert path.name.endswith(f"-{storage.sha256_bytes(path.read_bytes())[:8]}")


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"num_files": 2, "num_chars": 20_000}
    here(tmp_path / "whole", model, **settings)
    assert writer._BUFFERED_BYTES == 32 * 1024**2
    monkeypatch.setattr(writer, "_BUFFERED_BYTES", 3000)
    largest = 0
    publish = Writer._publish

    def published(self: Writer, text: Any, end: Any) -> SampleRecord:
        nonlocal largest
        largest = max(largest, len(text.unstored), *(part.size for part in text.parts))
        return publish(self, text, end)

    monkeypatch.setattr(Writer, "_publish", published)
    here(tmp_path / "parts", model, **settings)
    assert 0 < largest < 2000
    assert texts(tmp_path / "parts") == texts(tmp_path / "whole")


def test_a_store_that_fails_ends_the_job_while_files_are_left(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is not found out at the end only."""
    monkeypatch.setattr(writer, "LANES", 1)
    started: list[str] = []
    start = Writer._start

    def starting(self: Writer, lanes: Any, sample: Any, *given: Any) -> None:
        started.append(sample.name)
        start(self, lanes, sample, *given)

    def full(self: Writer, *given: Any) -> SampleRecord:
        raise OSError("No space left on device")

    monkeypatch.setattr(Writer, "_start", starting)
    monkeypatch.setattr(Writer, "_publish", full)
    with pytest.raises(OSError, match="No space left"):
        here(tmp_path, model, num_files=50, num_chars=2000)
    assert len(started) < 50


@pytest.fixture
def begun(tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job of one file that stopped before it was published."""
    monkeypatch.setattr(Writer, "_publish", stop)
    with pytest.raises(StoppedError):
        here(tmp_path, model, num_files=1, num_chars=3000, save_every_s=1e-9)
    monkeypatch.undo()
    return tmp_path


def test_a_damaged_part_is_refused_by_name(begun: Path, model: ModelArtifact) -> None:
    settings = {"num_files": 1, "num_chars": 3000}
    (part,) = partial(begun).glob("part-00001-*")
    good = part.read_bytes()
    ending = rf"remove {partial(begun)} and run again\."
    part.write_bytes(b"x" + good[1:])
    with pytest.raises(DamagedError, match=rf"{part} is not what was written; {ending}"):
        here(begun, model, **settings)
    assert not (begun / "sample-00000.txt").exists()
    part.unlink()
    with pytest.raises(DamagedError, match=rf"{part} is missing; {ending}"):
        here(begun, model, **settings)
    part.write_bytes(good)
    here(begun, model, **settings)
    here(begun.with_name("whole"), model, **settings)
    assert texts(begun) == texts(begun.with_name("whole"))


@pytest.mark.parametrize("damaged", [b"\x80\x04K\x01.", b"", b"\0" * 100])
def test_a_damaged_state_is_refused_by_name(
    begun: Path, model: ModelArtifact, damaged: bytes
) -> None:
    (partial(begun) / "state.safetensors").write_bytes(damaged)
    expected = r"state\.safetensors is damaged \(\w+: .*\); remove its folder and run again\."
    with pytest.raises(DamagedError, match=expected):
        here(begun, model, num_files=1, num_chars=3000)
