"""Writes checkpoints while training goes on, and prunes old ones. Rank 0 alone, in a thread."""

from __future__ import annotations

import logging
import threading

from pipeline import runs, storage

log = logging.getLogger("unreasonable")


class CheckpointWriter:
    """At most one checkpoint is on its way; the next waits for it.

    A failed write leaves the checkpoints before it, and training goes on. Whoever ends the run
    looks at `error`: without the last checkpoint the run's end would be lost.
    """

    def __init__(self, run_url: str, keep: int) -> None:
        self.run_url = run_url
        self.keep = keep
        self._thread: threading.Thread | None = None
        self.error = ""  # why the newest write failed; "" when it did not

    def submit(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        """Begin to write a checkpoint, and the journal up to it."""
        self.wait()
        # Not a daemon: a process that ends waits until its last checkpoint is whole.
        self._thread = threading.Thread(
            target=self._write, args=(step, files, journal), name="checkpoint-writer"
        )
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is on its way."""
        if self._thread:
            self._thread.join()
            self._thread = None

    def _write(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        checkpoint = storage.join(self.run_url, runs.checkpoint_name(step))
        try:
            # The journal first: rows behind the newest checkpoint are cut off on resume, but
            # missing ones could not be had again.
            storage.write_bytes(storage.join(self.run_url, runs.METRICS), journal)
            runs.write_checkpoint(checkpoint, files)
            runs.prune(self.run_url, self.keep)
        except Exception as error:  # every store has exceptions of its own
            reason = " ".join(str(error).split())
            self.error = f"{type(error).__name__}: {reason}"
            log.warning(
                "checkpoint of step %d was not written (%s); the newest is %s",
                step,
                self.error,
                self._newest(),
            )
        else:
            self.error = ""

    def _newest(self) -> str:
        """The newest complete checkpoint, for a message: the store may not answer this either."""
        try:
            return runs.newest(self.run_url) or "none"
        except Exception as error:
            return f"unknown ({type(error).__name__})"
