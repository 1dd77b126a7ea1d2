"""One process at a time publishes or removes versions of a corpus.

    <root>/corpora/.turns/<name>.lock           local files: the kernel's lock
    <root>/corpora/.turns/<name>/000001.json    elsewhere: notes, whose turn it is and until when

Reading and encoding need no turn. It lasts as long as LATEST is replaced or a version is removed,
so whoever finds it taken waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from pipeline import storage
from pipeline.errors import DamagedError, InputError

log = logging.getLogger("unreasonable")

WAIT_S = 900.0  # removing a version of thousands of objects takes minutes
ENDS_AFTER_S = 90.0  # of a note that is not renewed: its holder is dead
RENEW_S = 20.0
_POLL_S = 0.05
_SLOW_POLL_S = 1.0  # a store is asked over the network


@dataclass(frozen=True)
class Note:
    """Whose turn it is on a store without locks; `expires` is in seconds since 1970."""

    holder: str
    host: str
    pid: int
    expires: float


@contextlib.contextmanager
def turn(root: str, name: str) -> Iterator[Callable[[], None]]:
    """Wait for the turn at a corpus, and keep it for the length of the block.

    Gives a function that raises InputError when the turn was lost meanwhile: call it before each
    step that others must not see half done.
    """
    url = storage.join(root, "corpora", ".turns", name)
    deadline = time.monotonic() + WAIT_S
    with contextlib.ExitStack() as stack:
        handle = _locked(f"{url}.lock", deadline) if storage.is_local(url) else None
        if handle is None:
            check = stack.enter_context(_noted(url, deadline))
        else:
            stack.callback(os.close, handle)  # which gives the lock back
            check = _nothing
        yield check


def _nothing() -> None:
    """The kernel's lock cannot be lost."""


def _locked(url: str, deadline: float) -> int | None:
    """A handle that holds a file's lock; None where the file system has none."""
    path = storage.filesystem(url)[1]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # The file stays: one that is removed while another waits for it would be two locks.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise _refusal(url) from None
            time.sleep(_POLL_S)
        except OSError:  # some network file systems have none
            os.close(handle)
            return None


@contextlib.contextmanager
def _noted(folder: str, deadline: float) -> Iterator[Callable[[], None]]:
    """The same with notes: number n + 1 can be created once, and only when the turn of n is over.

    A killed holder's turn ends when its note expires. A note that was given back has expired, too.
    """
    holder = uuid.uuid4().hex
    number = _take(folder, holder, deadline)
    url = _note_url(folder, number)
    lost = threading.Event()

    def check() -> None:
        if lost.is_set() or _newest(folder) != number:
            raise InputError(
                f"the turn at {folder} went to another process while this one was silent; "
                "build again."
            )

    def renew() -> None:
        if _newest(folder) != number:
            lost.set()
            return
        storage.write_bytes(url, _note(holder, time.time() + ENDS_AFTER_S))

    try:
        with repeating(renew, RENEW_S):
            yield check
    finally:
        if not lost.is_set() and _newest(folder) == number:
            storage.write_bytes(url, _note(holder, 0.0))


def _take(folder: str, holder: str, deadline: float) -> int:
    """Wait until the newest note is over, and write the next; returns its number."""
    while time.monotonic() < deadline:
        number = _newest(folder)
        if number and _expiry(_note_url(folder, number)) > time.time():
            time.sleep(_SLOW_POLL_S)
            continue
        mine = number + 1
        data = _note(holder, time.time() + ENDS_AFTER_S)
        if not storage.create(_note_url(folder, mine), data):
            continue
        # Who looked long ago may have written a number that was there, and was cleared away.
        if _newest(folder) != mine:
            storage.remove(_note_url(folder, mine))
            continue
        _clear(folder, number)
        return mine
    raise _refusal(folder)


@contextlib.contextmanager
def repeating(action: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `action` every so often in a thread, for the length of the block.

    A store that is away for once costs a warning: the next call may reach it.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every_s):
            try:
                action()
            except (InputError, OSError) as error:
                log.warning("could not be renewed: %s", error)

    thread = threading.Thread(target=repeat, daemon=True, name="lease-renewer")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # A renewal that comes later would take back what is given back now.
        thread.join()


def _newest(folder: str) -> int:
    """The number of the newest note; 0 when there is none."""
    return max(_numbers(folder), default=0)


def _numbers(folder: str) -> list[int]:
    stems = [name.removesuffix(".json") for name in storage.names(folder)]
    return [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]


def _clear(folder: str, below: int) -> None:
    """Remove old notes. The last one before the newest stays: a slow reader may be at it."""
    for number in _numbers(folder):
        if number < below:
            with contextlib.suppress(FileNotFoundError):
                storage.remove(_note_url(folder, number))


def _expiry(url: str) -> float:
    try:
        return float(storage.read_json(url)["expires"])
    except (FileNotFoundError, DamagedError, KeyError, TypeError, ValueError):
        return 0.0


def _note(holder: str, expires: float) -> bytes:
    note = Note(holder, socket.gethostname(), os.getpid(), expires)
    return json.dumps(asdict(note), sort_keys=True).encode()


def _note_url(folder: str, number: int) -> str:
    return storage.join(folder, f"{number:06d}.json")


def _refusal(url: str) -> InputError:
    return InputError(
        f"another process has been publishing or removing versions for {WAIT_S / 60:.0f} minutes "
        f"({url}); stop it, and build again."
    )
