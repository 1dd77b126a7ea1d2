"""What has been submitted, started and ended: the one authority, whoever runs a scheduler.

    <root>/schedules/<corpus>/000017.json            an attempt: schedule, instant, stage, try
    <root>/schedules/<corpus>/000017.started.json    by the job itself, before it does anything
    <root>/schedules/<corpus>/000017.ended.json      how it came out
    <root>/schedules/<corpus>/000017.told.json       that the schedule's on_failure was told of it
    <root>/schedules/<corpus>/summary.2026.000120.json   the year's attempts up to number 120
    <root>/schedules/.known/<schedule>.json          since when a schedule is known

Each file is created only where it is not there, and never changed. A corpus's attempts are a
numbered row. Number n + 1 can be created once, by one scheduler, and only when n has ended. So no
two builds of one corpus overlap, and nothing is submitted twice. A job that finds its own start
recorded does nothing. So nothing runs twice either, even if an id was submitted again after its
cluster was lost.

What has ended never changes, so a ledger reads it once. Old attempts are folded into a summary of
their year: first the summary appears, and a later look removes their files.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

from pipeline import storage
from pipeline.errors import DamagedError, InputError
from pipeline.scheduling.calendar import AHEAD
from pipeline.scheduling.files import (
    attempt_file,
    folded_files,
    known_file,
    newest_summaries,
    number_of,
    summary_file,
)
from pipeline.scheduling.history import History, Summary, by_year, fold
from pipeline.scheduling.records import FORMAT, Attempt, Ended, Entry, Outcome, Started

log = logging.getLogger("unreasonable")

FOLDER = "schedules"
KNOWN = ".known"
# Attempts that keep files of their own. A look from scratch, as `--once` makes, reads up to
# three files of each of twice as many.
KEPT = 30


class Ledger:
    """The attempts under a root, a numbered row for each corpus."""

    def __init__(self, root: str) -> None:
        self.url = storage.join(root, FOLDER)
        # No two ledgers sign alike: a writer can tell its own file from another's.
        self.writer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._ended: dict[tuple[str, int], Entry] = {}
        self._summaries: dict[str, Summary] = {}
        self._since: dict[str, list[float]] = {}

    def history(self, corpus: str) -> History:
        """A corpus's attempts. Of what has ended, only what this ledger has not seen is read."""
        try:
            return self._history(corpus, self._files(corpus))
        except FileNotFoundError:
            # Another scheduler removed files that it had folded. Its summary is there by now.
            return self._history(corpus, self._files(corpus))

    def entries(self, corpus: str) -> list[Entry]:
        """The attempts of a corpus that are not folded, in order."""
        return self.history(corpus).entries

    def entry(self, corpus: str, number: int) -> Entry:
        files = self._files(corpus)
        if attempt_file(number, "") not in files:
            raise InputError(
                f"no attempt {corpus}/{number} under {self.url}; "
                "is --root the scheduler's? See --list."
            )
        return self._entry(corpus, number, files)

    def fold(self, corpus: str, history: History) -> None:
        """Fold a corpus's old attempts into summaries, or remove what has been folded before."""
        # Only what a summary of the same listing holds is removed. Nobody who lists the folder
        # misses both.
        for file in history.folded_files:
            # Another scheduler may be removing it too.
            with contextlib.suppress(FileNotFoundError):
                storage.remove(storage.join(self.url, corpus, file))
        if len(history.entries) <= 2 * KEPT:
            return
        years = {summary.year: summary for summary in history.summaries}
        for year, entries in by_year(history.entries[:-KEPT]).items():
            summary = fold(years.get(year), year, entries)
            url = storage.join(self.url, corpus, summary_file(year, summary.last))
            self._create(url, {**summary.to_json(), "by": self.writer})

    def append(self, attempt: Attempt) -> bool:
        """Record an attempt before it is submitted; False when another has taken its number."""
        url = self._url(attempt.corpus, attempt.number)
        if not self._create(url, attempt.to_json()):
            return False
        # A scheduler that slept for long may take a number whose files have been folded.
        folded = newest_summaries(self._files(attempt.corpus)).values()
        if attempt.number <= max(folded, default=0):
            storage.remove(url)
            return False
        return True

    def start(self, attempt: Attempt) -> bool:
        """Record that the job has begun; False when it had begun before: then it must not run."""
        # Format 1 has both names for the one who started the job.
        started = Started(time=time.time(), by=self.writer, host=self.writer)
        return self._create(self._url(attempt.corpus, attempt.number, "started"), started.to_json())

    def end(self, attempt: Attempt, status: str, outcome: Outcome) -> bool:
        """Record how an attempt came out; False when it is known already: the first word counts."""
        ended = Ended(time=time.time(), by=self.writer, status=status, outcome=outcome)
        return self._create(self._url(attempt.corpus, attempt.number, "ended"), ended.to_json())

    def tell(self, attempt: Attempt) -> bool:
        """Record that the schedule's on_failure was told how an attempt came out."""
        note = {"time": time.time(), "by": self.writer}
        return self._create(self._url(attempt.corpus, attempt.number, "told"), note)

    def known_since(self, schedule: str, now: float) -> float:
        """When a schedule was first seen, in seconds since 1970: `now`, the first time.

        What a wrong clock recorded far ahead of now is set aside, and `now` recorded beside it.
        """
        # These files never change, so what has been read and can be believed needs no listing.
        believed = _believed(self._since.get(schedule, []), now)
        if believed:
            return max(believed)
        known = self._known(schedule)
        believed = _believed(known, now)
        if believed:
            return max(believed)
        if known:
            ahead = datetime.fromtimestamp(min(known)).astimezone()
            log.warning(
                "schedule %s is known since %s, which is ahead of now: a clock was wrong. "
                "It is known from now on.",
                schedule,
                ahead.isoformat(timespec="seconds"),
            )
        url = storage.join(self.url, KNOWN, known_file(schedule, len(known)))
        self._create(url, {"by": self.writer, "time": now})
        return float(self._read(url)["time"])

    def _known(self, schedule: str) -> list[float]:
        """All that is recorded of since when a schedule is known, the oldest record first."""
        folder = storage.join(self.url, KNOWN)
        files = set(storage.names(folder))
        found: list[float] = []
        while (file := known_file(schedule, len(found))) in files:
            found.append(float(self._read(storage.join(folder, file))["time"]))
        self._since[schedule] = found
        return found

    def _files(self, corpus: str) -> list[str]:
        return storage.names(storage.join(self.url, corpus))

    def _history(self, corpus: str, files: list[str]) -> History:
        summaries = newest_summaries(files)
        folded = max(summaries.values(), default=0)
        # 000017.json is an attempt; 000017.started.json, with a second dot, is a note about it.
        attempts = [file for file in files if file.endswith(".json") and file.count(".") == 1]
        numbers = [number_of(file, self.url) for file in sorted(attempts)]
        return History(
            entries=[self._entry(corpus, number, files) for number in numbers if number > folded],
            summaries=[
                self._read_summary(corpus, summary_file(year, last))
                for year, last in sorted(summaries.items(), key=lambda summary: summary[1])
            ],
            folded_files=folded_files(files),
        )

    def _read_summary(self, corpus: str, file: str) -> Summary:
        url = storage.join(self.url, corpus, file)
        if url not in self._summaries:
            try:
                self._summaries[url] = Summary.from_json(self._read(url))
            except (KeyError, TypeError, ValueError) as error:
                raise _damaged(url, error) from None
        return self._summaries[url]

    def _entry(self, corpus: str, number: int, files: list[str]) -> Entry:
        """An attempt, with those of its notes that are among its folder's files."""
        told = attempt_file(number, "told") in files
        known = self._ended.get((corpus, number))
        if known is not None:
            return replace(known, told=told)
        entry = self._read_entry(corpus, number, files)
        if entry.ended:
            self._ended[corpus, number] = entry
        return replace(entry, told=told)

    def _read_entry(self, corpus: str, number: int, files: list[str]) -> Entry:
        url = self._url(corpus, number)
        value = self._read(url)
        if value.get("format") != FORMAT:
            raise DamagedError(
                f"{url} is not a format {FORMAT} attempt; use the version that wrote it."
            )
        started = self._note(corpus, number, "started", files)
        ended = self._note(corpus, number, "ended", files)
        try:
            return Entry(
                attempt=Attempt.from_json(value),
                started=Started.from_json(started) if started else None,
                ended=Ended.from_json(ended) if ended else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(f"{url}, or a note beside it,", error) from None

    def _note(self, corpus: str, number: int, kind: str, files: list[str]) -> dict[str, Any] | None:
        # One listing of the folder answers for all notes. Asking a store for each would cost two
        # requests an attempt.
        if attempt_file(number, kind) not in files:
            return None
        return self._read(self._url(corpus, number, kind))

    def _url(self, corpus: str, number: int, kind: str = "") -> str:
        return storage.join(self.url, corpus, attempt_file(number, kind))

    def _read(self, url: str) -> dict[str, Any]:
        value = storage.read_json(url)
        if not isinstance(value, dict):
            raise DamagedError(f"{url} is not what the scheduler writes; move it away.")
        return value

    def _create(self, url: str, value: dict[str, Any]) -> bool:
        """Create a file; False when there is one.

        `value` holds `by`: where a store answers late, a writer tells its own file by it.
        """
        # Indented and sorted: people read these files too.
        text = json.dumps(value, indent=1, sort_keys=True)
        return storage.create(url, f"{text}\n".encode())


def _believed(times: list[float], now: float) -> list[float]:
    """Those of some instants that are not far ahead of now."""
    return [time for time in times if time <= now + AHEAD.total_seconds()]


def _damaged(what: str, error: Exception) -> DamagedError:
    reason = f"{type(error).__name__}: {error}"
    return DamagedError(f"{what} is not what the scheduler writes ({reason}); move it away.")
