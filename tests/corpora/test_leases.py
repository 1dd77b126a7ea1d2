"""Staging with a lease, and what killed builds leave behind."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.corpora import leases
from pipeline.corpora.leases import LEASE_S, ORPHAN_S

NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, NOW)


def set_clock(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    monkeypatch.setattr(time, "time", lambda: now)


def make_as_old(folder: Path, seconds: float) -> None:
    for path in (*folder.iterdir(), folder):
        os.utime(path, (NOW - seconds, NOW - seconds))


def left(root: Path) -> list[str]:
    return storage.names(f"{root}/corpora/.staging")


def killed(root: Path, name: str) -> Path:
    """Staging of a build that was killed: nobody renews its lease."""
    return Path(leases.Staging(str(root), name).url)


def test_staging_is_there_for_the_length_of_a_build(tmp_path: Path) -> None:
    leases.sweep_staging(str(tmp_path))  # nothing is there yet
    with leases.staging(str(tmp_path), "one") as held:
        assert held.url == f"{tmp_path}/corpora/.staging/one"
        lease = json.loads(Path(held.url, "lease.json").read_bytes())
        assert lease == {"expires": NOW + LEASE_S, "version": ""}
        assert leases.claimed(str(tmp_path)) == {""}
        held.claim("url of a version")
        assert leases.claimed(str(tmp_path)) == {"url of a version"}
    assert left(tmp_path) == []


def test_staging_is_gone_when_a_build_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), leases.staging(str(tmp_path), "one"):
        raise KeyError
    assert left(tmp_path) == []


def test_a_build_of_25_hours_keeps_its_staging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with leases.staging(str(tmp_path), "long") as held:
        killed(tmp_path, "killed")
        for hour in range(1, 26):
            set_clock(monkeypatch, NOW + 3600 * hour)
            held.renew()
            leases.sweep_staging(str(tmp_path))
        assert left(tmp_path) == ["long"]


def test_a_lease_is_renewed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.001)
    with leases.staging(str(tmp_path), "long") as held:
        Path(held.url, "lease.json").unlink()
        while not Path(held.url, "lease.json").exists():
            time.sleep(0.001)
    assert left(tmp_path) == []


def test_staging_is_swept_when_its_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = killed(tmp_path, "one")
    (one / "unit-00000.bin").write_bytes(b"text")
    set_clock(monkeypatch, NOW + 10)
    two = leases.Staging(str(tmp_path), "two")
    two.claim("version")
    for passed, names in ((LEASE_S, ["one", "two"]), (LEASE_S + 1, ["two"])):
        set_clock(monkeypatch, NOW + passed)
        leases.sweep_staging(str(tmp_path))
        assert left(tmp_path) == names
    set_clock(monkeypatch, NOW + LEASE_S + 11)
    assert leases.claimed(str(tmp_path)) == set()


@pytest.mark.parametrize("lease", [None, b"{", b"[]", b"{}", b"null", b'{"expires": "soon"}'])
def test_staging_without_a_lease_is_swept_when_nothing_in_it_is_new(
    tmp_path: Path, lease: bytes | None
) -> None:
    """A kill falls before the lease is written, or into the removal."""
    folder = tmp_path / "corpora" / ".staging" / "one"
    folder.mkdir(parents=True)
    for file, data in (("lease.json", lease), (".writing-unit-00000.bin-x", b"te")):
        if data is not None:
            (folder / file).write_bytes(data)
    for seconds, names in ((ORPHAN_S, ["one"]), (ORPHAN_S + 1, [])):
        make_as_old(folder, seconds)
        leases.sweep_staging(str(tmp_path))
        assert left(tmp_path) == names
    assert leases.claimed(str(tmp_path)) == set()


def test_empty_staging_is_swept_when_it_is_old(tmp_path: Path) -> None:
    folder = tmp_path / "corpora" / ".staging" / "one"
    folder.mkdir(parents=True)
    for seconds, names in ((ORPHAN_S, ["one"]), (ORPHAN_S + 1, [])):
        make_as_old(folder, seconds)
        leases.sweep_staging(str(tmp_path))
        assert left(tmp_path) == names


def test_what_another_sweeper_has_removed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = storage.names
    for name in ("gone", ".writing-gone"):
        monkeypatch.setattr(storage, "names", lambda url, name=name: [*names(url), name])
        leases.sweep_temporary(str(tmp_path))
        leases.sweep_staging(str(tmp_path))
    assert leases.age_of(f"{tmp_path}/gone") == 0.0
