"""Who holds something that only one process may work at: a numbered row of notes.

    <folder>/000001.json    holder, host, pid, since, renewed (Unix seconds), is_released

Note n + 1 can be created once (storage.create), and only when the holder of note n has given it
back or is dead. So of several that find it free one gets it, on local files and on object stores
with conditional writes. The notes stay, which is why a number never comes twice: they are some 200
bytes a session.

A holder that is alive renews its note. It is dead when its process is gone, which is known at once
on its own machine; elsewhere, when it has been silent for ENDS_AFTER_S by the clock, and goes on to
be silent while it is watched: clocks of two machines may differ.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError, InputError

log = logging.getLogger("unreasonable")

RENEW_S = 20.0
ENDS_AFTER_S = 90.0  # a holder may miss some renewals: stores are away for a minute at times


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a holder writes. `machine` and `born` tell whether its process is still that one."""

    holder: str  # no two claims share one: a store that answers late is asked whose note it took
    host: str
    machine: str
    pid: int
    born: str
    since: float
    renewed: float
    is_released: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, url: str) -> Note:
        value = storage.read_json(url)
        try:
            note = cls(**value)
            float(note.renewed)
        except (TypeError, ValueError) as error:
            raise DamagedError(f"{url} is no lease ({error}); move it away.") from None
        return note


class Lease:
    """One process's claim on a folder's lease. `what` names the thing in messages."""

    def __init__(
        self,
        folder: str,
        what: str,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.what = what
        self.now = now
        self.sleep = sleep
        self.holder = uuid.uuid4().hex
        self.pid = os.getpid()
        self.machine = _machine()
        self.born = _born(self.pid)
        self.since = now()
        self.number = 0  # of the note that is ours; 0: none
        self.lost = False

    def take(self) -> None:
        """Become the holder. InputError while another one is alive."""
        number = self._newest()
        if number and not self._is_over(number):
            raise self._refusal(number)
        self.since = self.now()
        if not storage.create(self._url(number + 1), self._data()):
            raise self._refusal(number + 1)
        self.number = number + 1

    def renew(self) -> bool:
        """Say that the holder is alive. False when another one has taken its place."""
        try:
            if storage.exists(self._url(self.number + 1)):
                self.lost = True
                return False
            storage.write_bytes(self._url(self.number), self._data())
        except InputError as error:  # it may be there again at the next renewal
            log.warning("the lease of %s could not be renewed: %s", self.what, error)
        return True

    def release(self) -> None:
        """Give it back, so that nobody has to wait for its end."""
        if self.number and not self.lost:
            storage.write_bytes(self._url(self.number), self._data(is_released=True))
        self.number = 0

    def check(self) -> None:
        """Raise InputError when another process has taken over."""
        if self.lost:
            raise InputError(
                f"{self.what} was taken over by another process while this one was silent; "
                "leave it to that one."
            )

    def check_free(self) -> None:
        """Raise InputError while somebody holds it."""
        number = self._newest()
        if number and not self._is_over(number, watch=False):
            raise self._refusal(number)

    def _is_over(self, number: int, *, watch: bool = True) -> bool:
        """Whether the holder of a note has given it back or is dead.

        Without `watch` one that is silent on another machine counts as dead at once.
        """
        note = Note.read(self._url(number))
        if note.is_released:
            return True
        if note.machine and note.machine == self.machine:
            return _born(note.pid) != note.born
        if self.now() - note.renewed < ENDS_AFTER_S:
            return False
        if watch:
            log.info("%s: watching whether %s is dead", self.what, note.host)
            self.sleep(1.5 * RENEW_S)
        return Note.read(self._url(number)) == note

    def _refusal(self, number: int) -> InputError:
        note = Note.read(self._url(number))
        ago = max(0.0, self.now() - note.renewed)
        return InputError(
            f"{self.what} is under way: process {note.pid} on {note.host} holds it, renewed "
            f"{ago:.0f} s ago. Stop that one first; a dead one loses it {ENDS_AFTER_S:.0f} s after "
            "its last renewal."
        )

    def _newest(self) -> int:
        """The number of the newest note; 0 when there is none."""
        stems = [name.removesuffix(".json") for name in storage.names(self.folder)]
        return max((int(stem) for stem in stems if stem.isascii() and stem.isdigit()), default=0)

    def _data(self, *, is_released: bool = False) -> bytes:
        note = Note(
            holder=self.holder,
            host=socket.gethostname(),
            machine=self.machine,
            pid=self.pid,
            born=self.born,
            since=self.since,
            renewed=self.now(),
            is_released=is_released,
        )
        return (json.dumps(note.to_json(), indent=1, sort_keys=True) + "\n").encode()

    def _url(self, number: int) -> str:
        return storage.join(self.folder, f"{number:06d}.json")


@contextlib.contextmanager
def held(folder: str, what: str, on_loss: Callable[[], None]) -> Iterator[Lease]:
    """Hold a lease for the length of the block, and renew it. `on_loss` is called in a thread."""
    lease = Lease(folder, what)
    lease.take()
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_S):
            if not lease.renew():
                on_loss()
                return

    thread = threading.Thread(target=renew, daemon=True, name="lease-renewer")
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        # A renewal that comes after the release would take it back.
        thread.join()
        try:
            lease.release()
        except InputError as error:
            log.warning("the lease of %s could not be given back: %s", what, error)


def check_free(folder: str, what: str) -> None:
    """Raise InputError while a living process holds a folder's lease."""
    Lease(folder, what).check_free()


def _machine() -> str:
    """This boot of this machine, and which processes it can see; "" where that is not known.

    Containers may share a host's name and have pids of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process of this machine began, in its kernel's ticks; "" when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # Behind the command's name, which may hold spaces and brackets: field 22 is the 20th there.
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended, and waits only for its parent to look.
    return "" if fields[0] == "Z" else fields[19]
