"""What a request means, and the key of its random numbers: changing one changes every sample."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import numpy as np
import pytest

from pipeline.counter_rng import key_of
from pipeline.engine import request
from pipeline.engine.request import (
    LINE,
    MAX_SEED,
    Piece,
    Request,
    check_stop,
    shown,
    written_text,
)
from pipeline.errors import InputError

FIXED = Request(3, 500, 0.7, 5, 0.9, b"The ", 11)


def test_defaults() -> None:
    assert asdict(Request(2, 9)) == {
        "number": 2,
        "num_chars": 9,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "prime": b"",
        "seed": 1,
        "lines": 0,
    }
    assert LINE == b"\n"
    assert MAX_SEED == 1 << 63


def test_requests_and_pieces_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        FIXED.seed = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Piece("x", b"", 0, 0.0, True).text = b"y"  # type: ignore[misc]


def test_known_keys() -> None:
    """A key that changes would change every text that anybody has sampled with it."""
    assert FIXED.key == 0xC46DE12FA784B8E1
    assert Request(0, 1).key == 0xED70115010B68069
    assert Request(0, 1, temperature=0.0, seed=0).key == 0x6152D18493FCF623


def test_a_key_is_seed_temperature_prime_and_number_in_order() -> None:
    digest = hashlib.sha256(b"The ").digest()
    prime = int.from_bytes(digest[:8], "big")
    # 0.7 as an IEEE double: sign and exponent 0x3FE, fraction 0x6666666666666.
    assert FIXED.key == key_of(11, 0x3FE6666666666666, prime, 3)


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.8}, {"temperature": 0.0}, {"seed": 12}, {"prime": b"The"}, {"number": 4}],
)
def test_what_tells_texts_apart_changes_the_key(change: dict[str, Any]) -> None:
    assert replace(FIXED, **change).key != FIXED.key


@pytest.mark.parametrize("change", [{"num_chars": 501}, {"top_k": 6}, {"top_p": 1.0}, {"lines": 3}])
def test_what_only_narrows_or_ends_a_text_does_not(change: dict[str, Any]) -> None:
    assert replace(FIXED, **change).key == FIXED.key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_chars": 0}, "num_chars is 0; it must be at least 1."),
        ({"top_k": -1}, "top_k is -1; it must be at least 0."),
        ({"lines": -2}, "lines is -2; it must be at least 0."),
        ({"seed": -1}, "seed is -1; it must be at least 0 and below 2**63."),
        (
            {"seed": 1 << 63},
            "seed is 9223372036854775808; it must be at least 0 and below 2**63.",
        ),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1."),
        ({"top_p": 1.0001}, "top_p is 1.0001; it must be above 0 and at most 1."),
        ({"top_p": float("nan")}, "top_p is nan; it must be above 0 and at most 1."),
        (
            {"temperature": -0.1},
            "temperature is -0.1; it must be a finite number of at least 0.",
        ),
        (
            {"temperature": float("inf")},
            "temperature is inf; it must be a finite number of at least 0.",
        ),
        (
            {"temperature": float("nan")},
            "temperature is nan; it must be a finite number of at least 0.",
        ),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(FIXED, **change)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 1.0}, "number is 1.0; it must be a whole number."),
        ({"number": -1}, "number is -1; it must be at least 0."),
        ({"num_chars": "ten"}, "num_chars is 'ten'; it must be a whole number."),
        ({"num_chars": 1 << 63}, "num_chars is 9223372036854775808; it must be below 2**63."),
        ({"top_k": None}, "top_k is None; it must be a whole number."),
        ({"lines": True}, "lines is True; it must be a whole number."),
        ({"seed": "1"}, "seed is '1'; it must be a whole number."),
        ({"top_p": "1"}, "top_p is '1'; it must be a number."),
        ({"temperature": [1]}, "temperature is [1]; it must be a number."),
        ({"temperature": True}, "temperature is True; it must be a number."),
        (
            {"prime": b"a\nb", "lines": 1},
            "a prime with a line feed cannot begin a line; leave out lines, or the line feed.",
        ),
    ],
)
def test_other_types_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(FIXED, **change)
    assert str(caught.value) == message


def test_numbers_become_pythons_own() -> None:
    made = replace(FIXED, seed=np.uint64(11), number=np.int8(3), temperature=np.float64(0.7))
    assert made == FIXED
    assert made.key == FIXED.key
    assert [type(value) for value in (made.seed, made.number, made.temperature)] == [
        int,
        int,
        float,
    ]
    whole = Request(0, 1, temperature=1)
    assert type(whole.temperature) is float
    # One temperature has one key.
    assert Request(0, 1, temperature=-0.0).key == Request(0, 1, temperature=0.0).key


def test_text_is_what_can_be_written() -> None:
    assert written_text("stop", "caf\u00e9") == "caf\u00e9"
    for value in (b"x", None, 1):
        with pytest.raises(InputError, match=r"^stop is .*; it must be text\.$"):
            written_text("stop", value)
    with pytest.raises(
        InputError, match=r"^stop is 'a\\udc80', which has half a surr\w+ pair at 1"
    ):
        written_text("stop", "a\udc80")


def test_a_wrong_value_is_shown_on_one_short_line() -> None:
    assert shown("a b") == "'a b'"
    assert shown(np.zeros((2, 2))) == "array([[0., 0.], [0., 0.]])"
    assert shown("x" * 100) == "'" + "x" * 59 + "..."
    assert shown(10**5000) == "a int"


def test_the_outermost_values_that_are_taken() -> None:
    Request(0, 1, temperature=0.0, top_k=0, top_p=1e-9, seed=0, lines=0)
    Request(0, 1, top_p=1.0, seed=(1 << 63) - 1, lines=1)


def test_a_stop_text_beside_lines_is_refused() -> None:
    check_stop(0, b"x")
    check_stop(0, "")
    check_stop(3, "")
    check_stop(3, b"")
    for stop in ("x", b"x"):
        with pytest.raises(InputError) as caught:
            check_stop(1, stop)
        assert str(caught.value) == (
            "lines end at a line feed, so stop has no meaning with them; give one of the two."
        )


def test_what_is_no_text_is_shown_and_told_why() -> None:
    with pytest.raises(InputError, match=r"^stop is \[7\]; it must be text\.$"):
        request.written_text("stop", [7])
    half = r"^stop is 'a\\ud800', which has half a surrogate pair at 1 and is no text; leave that"
    with pytest.raises(InputError, match=half):
        request.written_text("stop", "a\ud800")
    just = "x" * (request.SHOWN_CHARS - 2)  # with its quotes
    assert request.shown(just) == repr(just)
    assert request.shown(just + "x") == repr(just + "x")[: request.SHOWN_CHARS] + "..."
