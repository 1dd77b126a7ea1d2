"""Checks that write nothing, and a rate that is measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.estimates import Estimate, check_could_write, free_bytes, product_rate


def test_an_estimate_says_what_it_rests_on() -> None:
    assert Estimate(1.5, "a guess").to_json() == {"value": 1.5, "basis": "a guess"}


def test_a_rate_is_of_whole_products(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 0.0, 0.1, 0.15, 0.25, 0.5])
    monkeypatch.setattr("pipeline.estimates.time.perf_counter", lambda: next(ticks))
    # Three products of 2 * 2 * 3 * 4 operations fit before the clock says 0.25, and it ends at 0.5.
    assert product_rate(2, 3, 4, 1) == pytest.approx(3 * 48 / 0.5)


def test_a_folder_that_could_be_made_is_not_made(tmp_path: Path) -> None:
    check_could_write(str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"file is not a folder. Choose another --output"):
        check_could_write(str(tmp_path / "file" / "below"), option="--output")
    asked = []

    def access(path: str, mode: int) -> bool:
        asked.append((path, mode))
        return False

    monkeypatch.setattr("pipeline.estimates.os.access", access)
    with pytest.raises(InputError, match=r"cannot write under .*a/b.* Choose another --root"):
        check_could_write(str(tmp_path / "a" / "b"))
    assert asked == [(str(tmp_path), os.W_OK | os.X_OK)]


def test_a_remote_store_is_not_asked() -> None:
    check_could_write("memory://anywhere")
    assert free_bytes("memory://anywhere") is None


def test_free_bytes_are_of_the_disk_that_a_folder_will_be_on(tmp_path: Path) -> None:
    found = free_bytes(str(tmp_path / "not" / "there"))
    assert found is not None
    assert found > 0
