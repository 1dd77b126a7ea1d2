"""Samples beside held-out text of the same size, by temperature."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import InputError
from pipeline.evaluation.structure.compare import (
    by_temperature,
    compare,
    control_of,
    places,
    section,
)

CONTROL = {"one": b"anna\nmia\nzoe\n", "two": b"bob\ntim\numa\n"}
SAMPLES = {"a": b"anna\nxx\n", "b": b"anna\nmia\n", "c": b"yy\nzz\nqq\n"}


def test_each_temperature_stands_beside_a_control_of_its_size() -> None:
    temperatures = {"a": 0.5, "b": 0.5, "c": 1.0}
    result = compare("names", SAMPLES, CONTROL, b"anna\nmia\n", temperatures)
    assert [group.temperature for group in result.groups] == [0.5, 1.0]
    low, high = result.groups
    name = "names that the corpus does not have"
    assert (low.samples.check(name).count, low.samples.check(name).out_of) == (1, 4)
    assert (high.samples.check(name).count, high.samples.check(name).out_of) == (3, 3)
    assert (low.samples.bytes, low.control.bytes) == (17, 17)
    assert (high.samples.bytes, high.control.bytes) == (9, 9)
    assert result.notes == ()
    assert json.loads(json.dumps(result.to_json()))["groups"][1]["temperature"] == 1.0


def test_a_sample_that_is_the_control_has_its_figures() -> None:
    result = compare("names", {"a": CONTROL["one"]}, CONTROL, b"mia\n", {})
    (group,) = result.groups
    assert group.temperature is None
    assert [each.share for each in group.samples.checks] == [
        each.share for each in group.control.checks
    ]
    assert group.samples.figures == group.control.figures


def test_control_begins_at_documents_and_never_overlaps() -> None:
    long = {f"{number}": b"%d\n" % number * 50 for number in range(9)}
    pieces = control_of((60, 60, 60), long)
    assert [piece[:1] for piece in pieces.values()] == [b"0", b"1", b"2"]
    assert [len(piece) for piece in pieces.values()] == [60, 60, 60]
    # One document: pieces begin at lines.
    one = {"all": b"".join(b"%04d\n" % number for number in range(100))}
    pieces = control_of((12, 12), one)
    assert list(pieces.values()) == [b"0000\n0001\n00", b"0003\n0004\n00"]


def test_too_little_held_out_text_is_said() -> None:
    result = compare("names", {"a": b"xx\n" * 100}, CONTROL, b"", {})
    assert result.notes == ("Held-out text of 25 bytes stands beside samples of 300.",)
    assert result.notes[0] in section(result).lead


def test_samples_without_a_temperature_come_last() -> None:
    groups = by_temperature(SAMPLES, {"b": 1.5, "c": 0.2})
    assert [(temperature, list(texts)) for temperature, texts in groups] == [
        (0.2, ["c"]),
        (1.5, ["b"]),
        (None, ["a"]),
    ]


def test_the_report_has_a_column_for_each_and_a_row_for_each_place() -> None:
    result = compare("names", SAMPLES, CONTROL, b"anna\nmia\n", {"a": 0.5, "b": 0.5, "c": 1.0})
    table = section(result).table
    assert table[0] == ("share of", "temperature 0.5", "control", "temperature 1", "control")
    assert {len(row) for row in table} == {5}
    rows = {row[0]: row[1:] for row in table}
    assert rows["names that the corpus does not have"] == (
        "25.0% of 4",
        "66.7% of 3",
        "100.0% of 3",
        "0.0% of 2",
    )
    assert rows["period of loops, median"] == ("-", "-", "-", "-")
    found = places(result).table
    assert found[0] == ("check", "file", "byte", "what", "text")
    assert ("names that the corpus does not have", "a", "0", "name of the corpus", "anna") in found


def test_nothing_to_check_is_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        compare("names", {}, CONTROL, b"", {})
    with pytest.raises(InputError, match="no held-out text"):
        compare("names", SAMPLES, {"a": b""}, b"", {})
    with pytest.raises(InputError, match="kind is 'x'"):
        compare("x", SAMPLES, CONTROL, b"", {})
