"""One job at a time writes an output folder: another one waits until it has ended.

A local folder is locked (flock): the lock goes with its process, however that ends. A store has no
locks. There a job keeps a claim, <output>/.partial/claim.json, and renews it; a claim that is not
renewed for a while, or whose process is gone from this machine, was left by a killed job, and is
taken over. No clocks are compared: who waits sees that the claim changes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator

from pipeline import storage
from pipeline.errors import StoreError

log = logging.getLogger("unreasonable")

CLAIM = ".partial/claim.json"
RENEW_S = 10.0
STALE_S = 60.0  # six renewals: a store that is slow for some seconds costs nobody a claim
_LOOK_S = 0.5  # between two looks of who waits


@contextlib.contextmanager
def claimed(output: str) -> Iterator[None]:
    """Hold an output folder, which exists and can be written; first wait for who holds it."""
    with contextlib.ExitStack() as stack:
        if not (storage.is_local(output) and _locked(output, stack)):
            stack.enter_context(_Claim(output))
        yield


def _locked(output: str, stack: contextlib.ExitStack) -> bool:
    """Lock a local folder until the stack is left; False where its filesystem has no locks."""
    _, path = storage.filesystem(output)
    handle = os.open(path, os.O_RDONLY)
    stack.callback(os.close, handle)
    has_told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not has_told:
                _tell(output, "another job")
                has_told = True
            time.sleep(_LOOK_S)
        except OSError:  # NFS, for one, locks no folders
            return False
        else:
            return True


class _Claim:
    """A claim on a store: taken on entering, renewed by a thread, removed on leaving."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.url = storage.join(output, CLAIM)
        self.holder = uuid.uuid4().hex
        self.renewals = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._renew, daemon=True, name="claim")

    def __enter__(self) -> None:
        seen: bytes | None = None
        seen_at = time.monotonic()
        while not storage.create(self.url, self._content()):
            found = self._read()
            if found != seen:
                if seen is None and found is not None:
                    _tell(self.output, _name(found))
                seen = found
                seen_at = time.monotonic()
            if found is not None and (_is_gone(found) or time.monotonic() - seen_at > STALE_S):
                log.info("%s was left by %s; it is taken over", self.output, _name(found))
                with contextlib.suppress(FileNotFoundError):
                    storage.remove(self.url)
                continue
            time.sleep(_LOOK_S)
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()
        # A store that fails now must not hide what the job came to; the claim goes stale.
        with contextlib.suppress(FileNotFoundError, StoreError):
            if self._is_ours():
                storage.remove(self.url)

    def _renew(self) -> None:
        while not self.ended.wait(RENEW_S):
            self.renewals += 1
            with contextlib.suppress(StoreError):
                if not self._is_ours():
                    return  # it was taken over while this machine slept
                storage.write_bytes(self.url, self._content())

    def _content(self) -> bytes:
        facts = {
            "holder": self.holder,
            "host": platform.node(),
            "pid": os.getpid(),
            "renewals": self.renewals,
        }
        return json.dumps(facts).encode()

    def _read(self) -> bytes | None:
        try:
            return storage.read_bytes(self.url)
        except FileNotFoundError:
            return None  # its holder has just ended

    def _is_ours(self) -> bool:
        return self.holder.encode() in (self._read() or b"")


def _is_gone(claim: bytes) -> bool:
    """Whether a claim's process was one of this machine, and is none any more."""
    facts = _facts(claim)
    pid = facts.get("pid")
    if facts.get("host") != platform.node() or type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)  # asks only
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _name(claim: bytes) -> str:
    facts = _facts(claim)
    return f"process {facts.get('pid')} on {facts.get('host')}"


def _facts(claim: bytes) -> dict[str, object]:
    try:
        facts = json.loads(claim)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _tell(output: str, who: str) -> None:
    log.info("%s is being written by %s; waiting until it has ended", output, who)
