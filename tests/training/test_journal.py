"""The journal is cut where a checkpoint says, and only when it is the journal that it was."""

from __future__ import annotations

import hashlib
import math

import pytest

from pipeline.errors import DamagedError
from pipeline.training.journal import Journal, JournalState, rows

FIRST = b'{"loss": 2.5, "step": 1}\n'
SECOND = b'{"step": 2}\n'


def two_rows() -> Journal:
    journal = Journal()
    journal.append({"step": 1, "loss": 2.5})
    journal.append({"step": 2})
    return journal


def test_a_row_is_a_line_with_sorted_keys() -> None:
    assert Journal().data == b""
    assert two_rows().data == FIRST + SECOND


def test_a_number_that_is_none_is_null() -> None:
    journal = Journal()
    journal.append({"step": 1, "loss": math.nan, "norm": math.inf, "fault": "loss nan"})
    assert journal.data == b'{"fault": "loss nan", "loss": null, "norm": null, "step": 1}\n'


def test_the_state_is_length_and_digest() -> None:
    journal = Journal(FIRST)
    assert journal.state == JournalState(len(FIRST), hashlib.sha256(FIRST).hexdigest())
    assert journal.state.to_json() == {
        "bytes": 25,
        "sha256": hashlib.sha256(FIRST).hexdigest(),
    }
    assert JournalState.from_json(journal.state.to_json()) == journal.state
    journal.append({"step": 2})
    assert journal.state == two_rows().state
    assert Journal().state == JournalState(0, hashlib.sha256(b"").hexdigest())


def test_what_was_given_is_not_changed() -> None:
    data = bytearray(FIRST)
    journal = Journal(bytes(data))
    before = journal.data
    journal.append({"step": 2})
    assert (bytes(data), before) == (FIRST, FIRST)


def test_a_resumed_run_goes_on_behind_its_checkpoints_rows() -> None:
    state = Journal(FIRST).state
    journal = Journal.at(state, FIRST + SECOND + b'{"st', "run/metrics.jsonl")
    assert journal.data == FIRST
    journal.append({"step": 2})
    assert journal.data == FIRST + SECOND


@pytest.mark.parametrize("data", [b"", FIRST[:-1], SECOND + FIRST, FIRST.replace(b"2.5", b"2.6")])
def test_other_rows_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(DamagedError) as caught:
        Journal.at(Journal(FIRST).state, data, "run/metrics.jsonl")
    assert str(caught.value) == (
        "run/metrics.jsonl does not begin with the rows of the run's newest checkpoint; restore it."
    )


def test_a_line_without_its_end_is_no_row_yet() -> None:
    assert rows(FIRST + SECOND) == [{"step": 1, "loss": 2.5}, {"step": 2}]
    assert rows(FIRST + SECOND[:-1]) == [{"step": 1, "loss": 2.5}]
    assert rows(b"") == []
