from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline import publishing, storage, urls
from pipeline.errors import DamagedError, InputError


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder on a filesystem that is not local."""
    yield "memory://storage"
    storage.remove_tree("memory://storage")


def test_others_find_all_of_urls_and_publishing_here() -> None:
    for module in (urls, publishing):
        shared = [name for name in storage.__all__ if hasattr(module, name)]
        assert shared
        assert all(getattr(storage, name) is getattr(module, name) for name in shared)
    assert {"join", "absolute", "writing", "create", "write_json"} <= set(storage.__all__)


# ---- what is there


def test_what_lies_directly_under_a_folder(tmp_path: Path, memory: str) -> None:
    for folder in (str(tmp_path), memory):
        for name, size in (("b", 3), ("a", 0), ("below/c", 5)):
            storage.write_bytes(f"{folder}/{name}", b"x" * size)
        assert storage.names(folder) == ["a", "b", "below"]
        assert storage.names(f"{folder}/") == ["a", "b", "below"]
        assert storage.sizes(folder) == {"a": 0, "b": 3}
        assert storage.names(f"{folder}/below") == ["c"]
        assert storage.names(f"{folder}/b") == []
        assert storage.names(f"{folder}/nowhere") == []
        assert storage.sizes(f"{folder}/nowhere") == {}
        assert storage.names(f"{folder}/b/below") == []
        assert storage.exists(f"{folder}/b")
        assert storage.exists(f"{folder}/below")
        assert not storage.exists(f"{folder}/nowhere")


def test_when_a_file_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("x")
    os.utime(tmp_path / "x", (1000.0, 2000.25))
    assert storage.modified(str(tmp_path / "x")) == 2000.25

    class Silent:
        def invalidate_cache(self) -> None:
            pass

        def modified(self, path: str) -> Any:
            raise {"a": NotImplementedError, "b": KeyError}[path]

    monkeypatch.setattr(storage, "fresh", lambda url: (Silent(), url))
    assert storage.modified("a") is None
    assert storage.modified("b") is None


def test_what_is_removed_is_gone(tmp_path: Path, memory: str) -> None:
    for folder in (str(tmp_path / "folder"), memory):
        for name in ("a", "b/c"):
            storage.write_bytes(f"{folder}/{name}", b"x")
        storage.remove(f"{folder}/a")
        assert storage.names(folder) == ["b"]
        storage.remove_tree(folder)
        assert not storage.exists(folder)
        storage.remove_tree(folder)  # nothing is there: nothing to do


# ---- reading


def test_a_range_is_the_bytes_from_start_to_stop(tmp_path: Path, memory: str) -> None:
    for folder in (str(tmp_path), memory):
        storage.write_bytes(f"{folder}/x", bytes(range(10)))
        assert storage.read_range(f"{folder}/x", 2, 5) == bytes([2, 3, 4])
        with storage.open_read(f"{folder}/x") as file:
            assert file.read(2) == bytes([0, 1])


def test_ranges_come_in_the_order_they_were_asked_for(tmp_path: Path, memory: str) -> None:
    wanted = [(70, 80), (0, 3), (99, 100), (5, 5)] * 700
    for folder in (str(tmp_path), memory):
        storage.write_bytes(f"{folder}/x", bytes(range(100)))
        found = list(storage.read_ranges((f"{folder}/x", start, stop) for start, stop in wanted))
        assert found == [bytes(range(start, stop)) for start, stop in wanted]
    assert list(storage.read_ranges([])) == []


@pytest.mark.parametrize(
    ("size", "batches"),
    [
        (1, [1024, 1024, 952]),  # by number
        (1 << 20, [64] * 46 + [56]),  # by bytes: 64 MiB
        ((1 << 20) + 1, [64] * 46 + [56]),
        ((1 << 20) - 1, [65] * 46 + [10]),
    ],
)
def test_a_store_is_asked_for_ranges_in_batches(
    monkeypatch: pytest.MonkeyPatch, size: int, batches: list[int]
) -> None:
    asked: list[int] = []

    def ranges(self: Any, paths: Any, starts: Any, stops: Any, on_error: str) -> list[bytes]:
        assert on_error == "raise"
        asked.append(len(paths))
        return [b""] * len(paths)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_ranges", ranges)
    requests = [("memory://x", number, number + size) for number in range(3000)]
    assert len(list(storage.read_ranges(requests))) == 3000
    assert asked == batches


def test_each_local_file_is_opened_once_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 9)
    opened: list[str] = []
    closed: list[int] = []
    real_open, real_close = os.open, os.close

    def note_open(path: str, flags: int) -> int:
        opened.append(path)
        return real_open(path, flags)

    def note_close(handle: int) -> None:
        closed.append(handle)
        real_close(handle)

    monkeypatch.setattr(storage.os, "open", note_open)
    monkeypatch.setattr(storage.os, "close", note_close)
    requests = [(str(tmp_path / name), 1, 3) for name in "abba"]
    assert list(storage.read_ranges(requests)) == [b"aa", b"bb", b"bb", b"aa"]
    assert opened == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert len(closed) == 2


def test_a_file_that_a_person_named_has_a_limit(tmp_path: Path, memory: str) -> None:
    storage.write_bytes(f"{memory}/x", b"12345")
    assert storage.read_given(f"{memory}/x", 5, "prime") == b"12345"
    assert storage.read_given(f"{memory}/x", 1 << 40, "prime") == b"12345"
    with pytest.raises(InputError) as refused:
        storage.read_given(f"{memory}/x", 4, "prime")
    assert str(refused.value) == (
        "prime memory://storage/x has more than 4 bytes; give a smaller one."
    )
    storage.write_bytes(f"{memory}/x", b"x" * 20_000_000)
    assert len(storage.read_given(f"{memory}/x", 20_000_000, "prime")) == 20_000_000
    with pytest.raises(InputError, match="more than 8,000,000 bytes"):
        storage.read_given(f"{memory}/x", 8_000_000, "prime")
    with pytest.raises(InputError) as refused:
        storage.read_given(str(tmp_path / "none"), 4, "--prime_file")
    assert str(refused.value).startswith(
        f"cannot read --prime_file {tmp_path / 'none'}: FileNotFoundError: "
    )
    with pytest.raises(InputError, match=r"^cannot open 'nosuch://x'"):
        storage.read_given("nosuch://x", 4, "archive")


def test_a_file_that_is_not_json_is_refused_by_name(tmp_path: Path) -> None:
    url = str(tmp_path / "x")
    storage.write_json(url, {"a": 1})
    assert storage.read_json(url) == {"a": 1}
    for data in (b"{", b"\xff\xfe\xff"):
        storage.write_bytes(url, data)
        with pytest.raises(DamagedError, match=r"/x is not JSON \(.+\); restore it, or rebuild"):
            storage.read_json(url)


def test_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_READ_BYTES", 3)
    (tmp_path / "x").write_bytes(b"12345678")
    expected = hashlib.sha256(b"12345678").hexdigest()
    assert storage.sha256(str(tmp_path / "x")) == expected
    assert storage.sha256_bytes(b"12345678") == expected
    assert storage.sha256_bytes(memoryview(b"12345678")) == expected


# ---- checks before a job


def test_an_unwritable_root_is_named(tmp_path: Path) -> None:
    storage.check_writable(str(tmp_path / "new"))
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("x")
    below = str(tmp_path / "file" / "below")
    with pytest.raises(InputError) as refused:
        storage.check_writable(below, "--output")
    assert str(refused.value).startswith(f"cannot write under {below}: ")
    assert str(refused.value).endswith(". Choose another --output.")
    with pytest.raises(InputError, match=r"Choose another --root\.$"):
        storage.check_writable(below)


def test_a_file_that_cannot_be_written_is_refused_before_there_is_anything_to_write(
    tmp_path: Path,
) -> None:
    old = tmp_path / "old.txt"
    old.write_text("kept")
    for url in (old, tmp_path / "new" / "a.txt"):
        storage.check_file_writable(str(url), "--output")
    storage.check_file_writable("memory://check/a.txt", "--output")
    assert old.read_text() == "kept"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new", "old.txt"]
    with pytest.raises(InputError, match=r"^--prove .* is a folder; give the URL of a file\.$"):
        storage.check_file_writable(str(tmp_path / "new"), "--prove")
    with pytest.raises(InputError, match=r"^cannot write under .*Choose another --output\.$"):
        storage.check_file_writable(str(old / "a.txt"), "--output")


def test_a_local_root_is_refused_on_several_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNREASONABLE_SHARED_ROOT", raising=False)
    root = str(tmp_path)
    storage.check_reachable_by(root, 1)
    storage.check_reachable_by("memory://root", 3)
    storage.check_reachable_by("s3://bucket/root", 3)
    with pytest.raises(InputError) as refused:
        storage.check_reachable_by(root, 2, "--output")
    assert str(refused.value) == (
        f"{root} is on one machine, the cluster has 2 nodes; give --output a URL that all of them "
        "reach, such as s3://bucket/unreasonable, or set UNREASONABLE_SHARED_ROOT=1 if it is a "
        "shared file system."
    )
    with pytest.raises(InputError, match="3 nodes; give --root a URL"):
        storage.check_reachable_by(root, 3)
    monkeypatch.setenv("UNREASONABLE_SHARED_ROOT", "0")
    with pytest.raises(InputError):
        storage.check_reachable_by(root, 2)
    monkeypatch.setenv("UNREASONABLE_SHARED_ROOT", "1")
    storage.check_reachable_by(root, 2)


def test_what_lies_in_an_archive_that_is_missing_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert storage.is_file(str(tmp_path / "file"))
    assert not storage.is_file(str(tmp_path))
    inside = f"zip://a.txt::{tmp_path}/missing.zip"
    assert not storage.exists(inside)
    assert not storage.is_file(inside)
