"""Telling someone that a scheduled firing has failed: a JSON POST to a URL, or a command.

    {"schedule": "nightly", "corpus": "linux", "instant": "20260501T030000Z", "stage": "train",
     "tries": 3, "status": "failed", "error": "disk full", "job_id": "..."}

A command reads the same JSON from its standard input. Whoever is told may be away: later looks try
again, less and less often, for a day. Of two schedulers both may tell; the job's id says that it is
one failure.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import urllib.error
import urllib.request
from datetime import datetime
from http.client import HTTPException
from typing import Any

from pipeline.scheduling.records import Entry

log = logging.getLogger("unreasonable")

TELL_FOR_S = 86_400.0  # a day after a failure nobody is told of it any more
RETRY_AFTER_S = 15.0  # the first wait; each further one is twice as long, up to MAX_WAIT_S
MAX_WAIT_S = 3_600.0
# A scheduler waits for an answer, and looks at nothing meanwhile.
_TIMEOUT_S = 10.0
_ERROR_CHARS = 200


class Telling:
    """Tells of failures, and knows when to try those again that could not be told."""

    def __init__(self) -> None:
        self.failed: dict[str, int] = {}  # by job: how often telling has failed
        self.again_at: dict[str, float] = {}  # by job, in seconds since 1970

    def tell(self, on_failure: str, entry: Entry, now: datetime) -> bool:
        """Tell of a failure, if it is time to; True when it has been told."""
        job_id = entry.attempt.job_id
        ended = entry.ended.time if entry.ended else 0.0
        is_old = now.timestamp() - ended > TELL_FOR_S
        is_waiting = now.timestamp() < self.again_at.get(job_id, 0.0)
        if is_old or is_waiting:
            return False
        error = tell(on_failure, message(entry))
        if not error:
            log.info("%s: its schedule's on_failure has been told", job_id)
            return True
        times = self.failed.get(job_id, 0)
        wait = min(RETRY_AFTER_S * 2.0**times, MAX_WAIT_S)
        self.failed[job_id] = times + 1
        self.again_at[job_id] = now.timestamp() + wait
        log.warning("%s: on_failure: %s; again in %.0f s", job_id, error, wait)
        return False


def message(entry: Entry) -> dict[str, Any]:
    """What is told of a failed attempt."""
    attempt = entry.attempt
    return {
        "schedule": attempt.schedule,
        "corpus": attempt.corpus,
        "instant": attempt.instant,
        "stage": attempt.stage,
        "tries": attempt.tried + 1,
        "status": entry.status,
        "error": entry.ended.outcome.error if entry.ended else "",
        "job_id": attempt.job_id,
    }


def tell(on_failure: str, value: dict[str, Any]) -> str:
    """POST a value to a URL, or give it to a command; "" or, in a line, why that failed."""
    text = json.dumps(value)
    if is_url(on_failure):
        return _post(on_failure, text)
    return _run(on_failure, text)


def is_url(on_failure: str) -> bool:
    return on_failure.startswith(("http://", "https://"))


def _post(url: str, text: str) -> str:
    headers = {"Content-Type": "application/json", "User-Agent": "unreasonable-schedule"}
    try:
        request = urllib.request.Request(url, text.encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        error.close()
        return f"the server answered {error.code}"
    except urllib.error.URLError as error:
        return f"no answer: {error.reason}"[:_ERROR_CHARS]
    # Messages of these may hold the URL; of a webhook, the URL is the secret.
    except (OSError, HTTPException, ValueError) as error:
        return f"no answer: {type(error).__name__}"


def _run(command: str, text: str) -> str:
    try:
        ended = subprocess.run(
            shlex.split(command),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the command ran for more than {_TIMEOUT_S:.0f} s and was ended"
    except OSError as error:
        return f"the command did not start: {error.strerror}"
    if ended.returncode == 0:
        return ""
    last_line = (ended.stderr.strip().splitlines() or [""])[-1]
    return f"the command ended with status {ended.returncode}: {last_line}"[:_ERROR_CHARS]
