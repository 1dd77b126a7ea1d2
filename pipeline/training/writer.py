"""Writes checkpoints while training goes on, and prunes old ones. Rank 0's, in a thread of its own."""

from __future__ import annotations

import logging
import threading

from pipeline import runs, storage

log = logging.getLogger("unreasonable")


class CheckpointWriter:
    """At most one checkpoint is on its way; the next waits for it. A failed write leaves the
    checkpoints before it.
    """

    def __init__(self, run_url: str, keep: int) -> None:
        self.run_url, self.keep = run_url, keep
        self._thread: threading.Thread | None = None
        self.error = ""  # why the newest write failed; "" when it did not

    def submit(self, step: int, files: dict[str, bytes], journal: bytes) -> None:
        """Begin to write a checkpoint, and the journal up to it."""
        self.wait()
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
        try:
            # The journal first: rows behind the newest checkpoint are cut off on resume, missing
            # ones could not be had.
            storage.write_bytes(storage.join(self.run_url, runs.METRICS), journal)
            runs.write_checkpoint(storage.join(self.run_url, runs.checkpoint_name(step)), files)
            runs.prune(self.run_url, self.keep)
        # every store has exceptions of its own; training goes on without this checkpoint
        except Exception as error:
            self.error = f"{type(error).__name__}: {' '.join(str(error).split())}"
            kept = self._newest()
            log.warning(
                "checkpoint of step %d was not written (%s); the newest is %s",
                step,
                self.error,
                kept,
            )
        else:
            self.error = ""

    def _newest(self) -> str:
        try:
            return runs.newest(self.run_url) or "none"
        except Exception as error:  # the store itself is away
            return f"unknown ({type(error).__name__})"
