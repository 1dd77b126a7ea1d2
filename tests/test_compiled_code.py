"""Compiled code on disk: whose file it is, what is damaged, what is old. In processes of their own:
tests/engine/test_compiling.py.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from numba.core.caching import CompileResultCacheImpl, UserWideCacheLocator

from pipeline import compiled_code
from pipeline.compiled_code import njit


def test_nobodys_home_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert UserWideCacheLocator in CompileResultCacheImpl._locator_classes
    folders = compiled_code._Folders(test_nobodys_home_is_no_folder)
    assert UserWideCacheLocator not in folders._locator_classes


def test_a_full_disk_costs_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    compiled_code._tell_nothing_is_kept.cache_clear()
    monkeypatch.setattr(compiled_code._KeyedFiles, "save", full)
    made = njit(nogil=True)(_double)
    assert made(4) == 8
    assert made(4.0) == 8.0
    assert caplog.text.count("compiled code cannot be kept on disk") == 1
    compiled_code._tell_nothing_is_kept.cache_clear()


def _double(number: float) -> float:
    return number * 2


def test_files_of_older_sources_and_killed_processes_go_in_time(tmp_path: Path) -> None:
    files = compiled_code._KeyedFiles(str(tmp_path), "step.f-1.py311", "a" * 64)
    old = time.time() - compiled_code._UNUSED_S - 10
    unused = ("step.f-1.py311.nbi", "step.f-1.py311.1.nbc", "step.f-1.py311.bbbbbbbb.0.nbc")
    killed = "step.f-1.py311.aaaaaaaa.0.nbc.tmp.0123"
    others = ("step.f-1.py311.aaaaaaaa.9.nbc", "step.g-1.py311.1.nbc")
    for name in (*unused, killed, *others):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (old, old))
    (tmp_path / "step.f-1.py311.cccccccc.0.nbc").write_bytes(b"of a checkout that is in use")
    files.save("key", 1)
    assert files.load("key") == 1
    assert files.load("another") is None
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, "step.f-1.py311.cccccccc.0.nbc", files._path("key").name}
    files.flush()
    assert files.load("key") is None


def test_a_function_is_kept_by_the_digest_of_its_file(tmp_path: Path) -> None:
    made = njit(nogil=True, fastmath=True)(_double)
    assert made.targetoptions["nogil"] is True
    assert made.targetoptions["fastmath"] is not False
    stamp = made._cache._cache_file._source_stamp
    assert stamp == compiled_code._file_digest(__file__)
    other = tmp_path / "x.py"
    other.write_text("x = 1")
    assert compiled_code._file_digest(str(other)) != stamp


@pytest.mark.parametrize("error", [RuntimeError("no locator available"), OSError("read-only")])
def test_without_a_folder_a_function_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(*given: object) -> None:
        raise error

    compiled_code._tell_nothing_is_kept.cache_clear()
    monkeypatch.setattr(compiled_code, "_StampedCache", refuse)
    assert njit()(_double)(4) == njit()(_double)(4) == 8
    assert caplog.text.count("compiled code cannot be kept on disk") == 1
    compiled_code._tell_nothing_is_kept.cache_clear()


@pytest.mark.parametrize("damaged", [b"", b"x", b"x" * 40])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, damaged: bytes) -> None:
    files = compiled_code._KeyedFiles(str(tmp_path), "step.f-1.py311", "a" * 64)
    files.save("key", [1])
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for content in (damaged, whole[:-1], whole[:-1] + b"x"):
        path.write_bytes(content)
        assert files.load("key") is None
        files.save("key", [1])
        assert files.load("key") == [1]
