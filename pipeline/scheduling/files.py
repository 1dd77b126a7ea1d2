"""Names of the ledger's files."""

from __future__ import annotations

import re

from pipeline.errors import DamagedError

_SUMMARY = re.compile(r"summary\.(\d{4,})\.(\d{6,})\.json")


def number_of(file: str, url: str) -> int:
    """The number of an attempt's file."""
    number = file.removesuffix(".json")
    if not (number.isascii() and number.isdigit()):
        raise DamagedError(f"{url} holds {file}, which no scheduler wrote; move it away.")
    return int(number)


def attempt_file(number: int, kind: str) -> str:
    """The file of an attempt, with "" for `kind`, or of a note about it: `started`, `ended`."""
    return f"{number:06d}.{kind}.json" if kind else f"{number:06d}.json"


def summary_file(year: int, last: int) -> str:
    """The file of a year's summary up to a number."""
    return f"summary.{year}.{last:06d}.json"


def newest_summaries(files: list[str]) -> dict[int, int]:
    """By year, the highest number up to which there is a summary: it holds what others hold."""
    found: dict[int, int] = {}
    for file in files:
        named = _SUMMARY.fullmatch(file)
        if named:
            year, last = int(named[1]), int(named[2])
            found[year] = max(last, found.get(year, 0))
    return found


def folded_files(files: list[str]) -> list[str]:
    """Files that a summary among them replaces: folded attempts, and summaries that hold less."""
    summaries = newest_summaries(files)
    current = {summary_file(year, last) for year, last in summaries.items()}
    folded = max(summaries.values(), default=0)
    replaced = [file for file in files if _SUMMARY.fullmatch(file) and file not in current]
    return replaced + [file for file in files if _is_attempt_up_to(file, folded)]


def _is_attempt_up_to(file: str, folded: int) -> bool:
    """Whether a file is an attempt, or a note about one, up to a number."""
    number, _, rest = file.partition(".")
    is_ours = rest in ("json", "started.json", "ended.json", "told.json")
    return is_ours and number.isascii() and number.isdigit() and int(number) <= folded


def known_file(schedule: str, nth: int) -> str:
    """The file of the n-th record of a schedule. Names of schedules have no dot."""
    return f"{schedule}.{nth}.json" if nth else f"{schedule}.json"
