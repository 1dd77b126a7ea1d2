from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import InputError


def test_a_file_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = str(tmp_path / "a" / "b.bin")
    with storage.writing(target) as file:
        file.write(b"12")
        assert not Path(target).exists()
    assert Path(target).read_bytes() == b"12"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = str(tmp_path / "x")
    storage.write_bytes(target, b"old")

    def fail() -> None:
        with storage.writing(target) as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert Path(target).read_bytes() == b"old"


def test_a_filesystem_that_shows_files_as_they_grow_is_written_beside() -> None:
    def fail() -> None:
        with storage.writing("memory://folder/x") as file:
            file.write(b"half")
            raise RuntimeError

    storage.write_bytes("memory://folder/x", b"whole")
    with pytest.raises(RuntimeError):
        fail()
    assert storage.names("memory://folder") == ["x"]
    assert storage.read_bytes("memory://folder/x") == b"whole"
    storage.remove_tree("memory://folder")


def test_ranges_come_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    storage.write_bytes("memory://ranges/x", bytes(range(100)))
    storage.write_bytes(str(tmp_path / "x"), bytes(range(100)))
    wanted = [(70, 80), (0, 3), (99, 100), (5, 5)] * 700
    for url in ("memory://ranges/x", str(tmp_path / "x")):
        found = list(storage.read_ranges((url, start, stop) for start, stop in wanted))
        assert found == [bytes(range(start, stop)) for start, stop in wanted]
    storage.remove_tree("memory://ranges")


def test_local_paths_become_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/../b") == str(tmp_path / "b")
    assert storage.absolute("s3://bucket/key/") == "s3://bucket/key"
    assert storage.absolute("zip://a/b.txt::x.zip") == f"zip://a/b.txt::{tmp_path}/x.zip"
    assert storage.absolute("https://host/folder/") == "https://host/folder/"


def test_an_unknown_protocol_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="nosuch"):
        storage.filesystem("nosuch://x")


def test_an_unwritable_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write under"):
        storage.check_writable(str(tmp_path / "file" / "below"))


def test_a_local_root_is_refused_on_several_nodes(tmp_path: Path) -> None:
    storage.check_reachable_by(str(tmp_path), 1)
    storage.check_reachable_by("s3://bucket/root", 3)
    with pytest.raises(InputError, match="3 nodes"):
        storage.check_reachable_by(str(tmp_path), 3)
