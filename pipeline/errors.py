"""Errors that mean: what was asked for cannot be done, and the message says what to change."""

from __future__ import annotations

import re


class InputError(ValueError):
    """Bad input: what is wrong, the value found, what is needed, the next move.

    Jobs print it as one line and exit with status 2.
    """


class DamagedError(InputError):
    """A published file does not have the size or digest that its manifest promises."""


class StoreError(InputError, OSError):
    """A store could not be read or written: no credentials, no room, no such bucket, no network.

    An OSError too, so that what waits for a disk's errors sees every store's. It may go away by
    itself, which other bad input does not. `why` is what the store itself said.
    """

    why = ""


class TrackingError(InputError):
    """A tracking server does not answer. It may be back later, which other bad input is not."""


class DivergedError(InputError):
    """Training diverged, and rollbacks did not help. Every rank finds out at the same step."""


def says_status(message: str, *codes: int) -> bool:
    """Whether a message names one of these HTTP statuses, and not a port that holds it."""
    return any(re.search(rf"(?<![\d:.]){code}(?!\d)", message) for code in codes)
