from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
import pytest

from pipeline import publishing, storage

HOUSE = Path(__file__).parents[1]


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder on a filesystem that shows files as they grow."""
    yield "memory://publishing"
    storage.remove_tree("memory://publishing")


def fail_halfway(url: str) -> None:
    with publishing.writing(url) as file:
        file.write(b"half")
        raise RuntimeError("on the way")


def test_a_file_appears_complete_or_not_at_all(tmp_path: Path, memory: str) -> None:
    for folder in (str(tmp_path / "a"), f"{memory}/a"):
        with publishing.writing(f"{folder}/b.bin") as file:
            file.write(b"12")
            assert not storage.exists(f"{folder}/b.bin")
        assert storage.read_bytes(f"{folder}/b.bin") == b"12"
        assert storage.names(folder) == ["b.bin"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, memory: str) -> None:
    for folder in (str(tmp_path), memory):
        publishing.write_bytes(f"{folder}/x", b"old")
        with pytest.raises(RuntimeError, match="on the way"):
            fail_halfway(f"{folder}/x")
        assert storage.names(folder) == ["x"]
        assert storage.read_bytes(f"{folder}/x") == b"old"
        publishing.write_bytes(f"{folder}/x", b"new")
        assert storage.read_bytes(f"{folder}/x") == b"new"


def test_a_file_on_its_way_has_a_name_that_no_reader_takes(tmp_path: Path) -> None:
    with publishing.writing(str(tmp_path / "x.json")):
        (growing,) = tmp_path.iterdir()
    assert publishing.TEMPORARY == ".writing-"
    assert growing.name.startswith(".writing-x.json-")
    assert len({publishing.temporary_name("x") for _ in range(20)}) == 20


class Upload:
    """An object store's file: seen when it is closed, unless it is discarded."""

    def __init__(self, store: dict[str, bytes], path: str, can_discard: bool) -> None:
        self.store, self.path, self.can_discard = store, path, can_discard
        self.data = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        assert not self.closed
        self.store[self.path] = self.data
        self.closed = True

    def discard(self) -> None:
        if not self.can_discard:
            raise NotImplementedError


@pytest.mark.parametrize("protocol", ["s3", ("gs", "gcs"), ["abfs"]])
@pytest.mark.parametrize("can_discard", [True, False])
def test_an_object_store_gets_whole_objects(
    monkeypatch: pytest.MonkeyPatch, protocol: Any, can_discard: bool
) -> None:
    store: dict[str, bytes] = {}
    uploads = []

    class Store:
        def open(self, path: str, mode: str) -> Upload:
            assert mode == "wb"
            uploads.append(Upload(store, path, can_discard))
            return uploads[-1]

    Store.protocol = protocol  # type: ignore[attr-defined]
    monkeypatch.setattr(publishing, "filesystem", lambda url: (Store(), url))
    with pytest.raises(RuntimeError, match="on the way"):
        fail_halfway("s3://bucket/x")
    assert store == {}
    assert uploads[-1].closed  # its destructor does not publish it either
    publishing.write_bytes("s3://bucket/x", b"whole")
    assert store == {"s3://bucket/x": b"whole"}


def test_json_is_sorted_utf8_with_a_newline(tmp_path: Path) -> None:
    url = str(tmp_path / "x.json")
    publishing.write_json(url, {"b": "ä", "a": [1]})
    assert Path(url).read_bytes() == '{\n  "a": [\n    1\n  ],\n  "b": "ä"\n}\n'.encode()
    publishing.write_json(url, {"b": 2, "a": 1}, indent=None)
    assert Path(url).read_bytes() == b'{"a": 1, "b": 2}\n'


# ---- created once


def test_what_is_created_twice_by_one_writer_is_its_own(tmp_path: Path, memory: str) -> None:
    for url in (str(tmp_path / "below" / "x"), f"{memory}/x"):
        assert publishing.create(url, b"mine")
        assert publishing.create(url, b"mine")
        assert not publishing.create(url, b"theirs")
        assert storage.read_bytes(url) == b"mine"
    assert storage.names(str(tmp_path / "below")) == ["x"]


def test_what_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        publishing.create(str(tmp_path / "file" / "x"), b"mine")


def test_a_store_that_answers_late_is_asked_whose_file_it_is(
    monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    """It may have taken the file, and refuse it when the client sends it again."""
    fs = fsspec.filesystem("memory")
    put = type(fs).pipe_file

    def late(self: Any, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        assert mode == "create"
        put(self, path, value, mode="overwrite")
        raise FileExistsError(path)

    monkeypatch.setattr(type(fs), "pipe_file", late)
    assert publishing.create(f"{memory}/x", b"mine")


def test_of_many_processes_that_take_a_number_one_gets_it(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        from pipeline import publishing
        while time.time() < float(sys.argv[1]):
            pass
        text = sys.argv[2].encode() * 1000
        root = {str(tmp_path)!r}
        print(sum(publishing.create(root + f"/{{n:03d}}", text) for n in range(200)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(time.time() + 2)]
    processes = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, cwd=HOUSE) for name in "abc"
    ]
    taken = [int(process.communicate()[0]) for process in processes]
    assert sum(taken) == 200
    found = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(found) == 200
    assert [sum(text == name.encode() * 1000 for text in found) for name in "abc"] == taken


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must leave the old file or the new one, and the folder must know which."""
    steps: list[str] = []

    def note(name: str, call: Any) -> Any:
        def noted(*arguments: Any) -> Any:
            steps.append(name)
            return call(*arguments)

        return noted

    for name in ("fsync", "replace"):
        monkeypatch.setattr(publishing.os, name, note(name, getattr(publishing.os, name)))
    with publishing.writing(str(tmp_path / "x")) as file:
        written: IO[bytes] = file
        written.write(b"x")
        assert steps == []
    assert steps == ["fsync", "replace", "fsync"]


# ---- what killed jobs left

KILLED = """
import os, sys
from pipeline import publishing
with publishing.writing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def made_older(folder: Path) -> None:
    long_ago = time.time() - 2 * publishing._UNLOCKED_S
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))


def test_files_of_killed_writers_are_swept_and_those_of_living_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HOUSE,
        )
        for name in ("killed", "living")
    ]
    killed, living = writers
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == b"writing\n"
    killed.kill()
    killed.wait()
    (tmp_path / "mine.txt").write_text("not on its way")
    monkeypatch.setattr(publishing, "_swept", set())
    publishing.write_bytes(str(tmp_path / "x"), b"1")
    assert len(list(tmp_path.glob(".writing-*"))) == 2  # too young to be sure of
    made_older(tmp_path)
    publishing.write_bytes(str(tmp_path / "x"), b"2")
    assert len(list(tmp_path.glob(".writing-*"))) == 2  # a folder is swept once a process
    monkeypatch.setattr(publishing, "_swept", set())
    publishing.write_bytes(str(tmp_path / "x"), b"3")
    (left,) = tmp_path.glob(".writing-*")
    assert left.name.startswith(".writing-living-")
    living.communicate(b"")
    assert living.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"x", "mine.txt", "living"}


def test_without_locks_only_what_is_a_day_old_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Any, how: int) -> None:
        raise OSError("no locks")

    monkeypatch.setattr(publishing.fcntl, "flock", refuse)
    for name, age_s in (("a", 3600), ("b", 2 * 86400)):
        path = tmp_path / f".writing-{name}-0123abcd"
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_s,) * 2)
    publishing.write_bytes(str(tmp_path / "x"), b"1")
    assert {path.name for path in tmp_path.iterdir()} == {"x", ".writing-a-0123abcd"}
