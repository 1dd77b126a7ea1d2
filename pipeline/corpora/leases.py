"""What is on its way: staging folders with a lease, and what killed builds leave behind.

A build that lives renews its lease. One that is killed leaves its staging, half a version, or files
called .writing-*; a later build removes them when they are old enough to be nobody's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline import storage
from pipeline.corpora.turns import repeating
from pipeline.errors import DamagedError

LEASE = "lease.json"
# Renewed every RENEW_S. Much longer than that: clocks of machines differ, stores are away at times.
LEASE_S = 2 * 3600.0
RENEW_S = 300.0

# What has no lease is a killed build's when nothing in it is newer than this.
ORPHAN_S = 24 * 3600.0


class Staging:
    """One build's folder of staged text, and its lease: until it has run out nobody sweeps it."""

    def __init__(self, root: str, name: str) -> None:
        self.url = storage.join(_staging_folder(root), name)
        self.version = ""  # the folder that is being written
        self.lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        with self.lock:  # or a renewal in its thread could take a claim back
            lease = {"expires": time.time() + LEASE_S, "version": self.version}
            storage.write_json(storage.join(self.url, LEASE), lease)

    def claim(self, version: str) -> None:
        """Keep a version's folder from being removed while it is written. Needs the turn."""
        self.version = version
        self.renew()


@contextlib.contextmanager
def staging(root: str, name: str) -> Iterator[Staging]:
    """Staging that is renewed for the length of the block, and gone behind it."""
    held = Staging(root, name)
    try:
        with repeating(held.renew, RENEW_S):
            yield held
    finally:
        # A build that is killed does not come here, or not to the end of it.
        storage.remove_tree(held.url)


def claimed(root: str) -> set[str]:
    """Folders of versions that living builds are writing."""
    folder = _staging_folder(root)
    leases = [_lease(storage.join(folder, name)) for name in storage.names(folder)]
    return {lease.version for lease in leases if lease and lease.expires >= time.time()}


def sweep_staging(root: str) -> None:
    """Remove what killed builds left of their staging.

    A folder whose lease has run out, or one without a lease in which nothing is new: a kill may
    fall before the lease is written, or into the removal.
    """
    folder = _staging_folder(root)
    for name in storage.names(folder):
        url = storage.join(folder, name)
        lease = _lease(url)
        is_over = lease.expires < time.time() if lease else is_old(url)
        if is_over:
            storage.remove_tree(url)


def sweep_temporary(folder: str) -> None:
    """Remove old .writing-* files directly under a folder: their writers were killed."""
    for name in storage.names(folder):
        url = storage.join(folder, name)
        if name.startswith(storage.TEMPORARY) and age_of(url) > ORPHAN_S:
            with contextlib.suppress(FileNotFoundError):  # another one sweeps as well
                storage.remove(url)


def is_old(folder: str) -> bool:
    """Whether nothing in a folder is new; the folder's own age tells where nothing is in it."""
    inside = [storage.join(folder, name) for name in storage.names(folder)]
    return all(age_of(url) > ORPHAN_S for url in inside or [folder])


def age_of(url: str) -> float:
    """Seconds since a file was written.

    0 where the store does not say, so that it stays, and for one that is gone meanwhile.
    """
    now = time.time()
    try:
        return now - (storage.modified(url) or now)
    except FileNotFoundError:
        return 0.0


@dataclass(frozen=True)
class _Lease:
    """Until when a staging folder is in use, in seconds since 1970, and the version it is for."""

    expires: float
    version: str


def _lease(staging_url: str) -> _Lease | None:
    """The lease of a staging folder; None where there is none that says how long."""
    try:
        value = storage.read_json(storage.join(staging_url, LEASE))
        return _Lease(float(value["expires"]), str(value.get("version", "")))
    except (FileNotFoundError, NotADirectoryError, DamagedError):
        return None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _staging_folder(root: str) -> str:
    return storage.join(root, "corpora", ".staging")
