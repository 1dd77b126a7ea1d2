"""The settings of a sampling job: what they are when nobody says, and what is refused of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.sampling.config import SampleConfig


def config(**changes: Any) -> SampleConfig:
    return SampleConfig(**{"model": "m"} | changes)


def test_what_nobody_says() -> None:
    assert dataclasses.asdict(config()) == {
        "model": "m",
        "num_files": 1,
        "num_chars": 100_000,
        "temperature": "1.0",
        "top_k": 0,
        "top_p": 1.0,
        "prime": "",
        "prime_file": "",
        "primes": "",
        "unknown": "refuse",
        "stop": "",
        "lines": 0,
        "seed": 1,
        "precision": "auto",
        "num_workers": 1,
        "use_gpu": False,
        "save_every_s": 60.0,
        "output": "",
        "overwrite": False,
    }


def test_the_flag_lines_may_stand_alone() -> None:
    bare = {field.name: field.metadata["bare"] for field in dataclasses.fields(SampleConfig)
            if "bare" in field.metadata}  # fmt: skip
    assert bare == {"lines": "100"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_files": 0}, r"num_files is 0; it must be at least 1\."),
        ({"num_workers": 0}, r"num_workers is 0; it must be at least 1\."),
        ({"num_chars": -1}, "num_chars is -1; it must be at least 1"),
        ({"num_chars": 0}, "num_chars is 0"),
        ({"temperature": "nan"}, "temperature is nan"),
        ({"temperature": "inf"}, "temperature is inf"),
        ({"temperature": "0.5,-1"}, r"temperature is -1\.0"),
        ({"temperature": "warm"}, r"temperature is 'warm'; give a number, or several with commas"),
        ({"temperature": ""}, "temperature is ''"),
        ({"temperature": "0.5,"}, "temperature is '0.5,'"),
        ({"top_k": -1}, "top_k is -1; it must be at least 0"),
        ({"top_p": 0.0}, r"top_p is 0\.0"),
        ({"top_p": 1.5}, r"top_p is 1\.5"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"lines": -1}, "lines is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1 << 63}, "seed is 9223372036854775808"),
        ({"save_every_s": 0.0}, r"save_every_s is 0\.0; it must be a number above 0\."),
        ({"save_every_s": -1.0}, r"save_every_s is -1\.0"),
        ({"save_every_s": float("inf")}, "save_every_s is inf"),
        ({"save_every_s": float("nan")}, "save_every_s is nan"),
        ({"prime": "a", "primes": "b"}, "prime and primes are both given; a job takes one of them"),
        ({"prime": "a", "prime_file": "b"}, "prime and prime_file"),
        ({"prime": "a", "prime_file": "b", "primes": "c"}, "prime and prime_file and primes are"),
        ({"lines": 3, "stop": "x"}, "stop has no meaning"),
        ({"prime": "\udcff"}, "prime is not text: the command line gave bytes that are no UTF-8"),
        ({"stop": "\udcff"}, "stop is not text"),
        ({"use_gpu": True, "precision": "int8"}, "precision int8 is for CPUs; leave it out"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_files": 1, "num_workers": 1, "num_chars": 1, "top_k": 0, "lines": 0, "seed": 0},
        {"seed": (1 << 63) - 1, "top_p": 1e-300, "save_every_s": 1e-9, "temperature": "0"},
        {"prime": "\u00e9", "stop": "\u2603"},
        {"lines": 1, "prime": "a"},
        {"stop": "x", "prime_file": "a"},
        {"use_gpu": True, "precision": "fp32", "primes": "a"},
        {"use_gpu": True},
        {"precision": "int8"},
    ],
)
def test_what_is_just_allowed(changes: dict[str, Any]) -> None:
    made = config(**changes)
    assert {name: getattr(made, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1.0", (1.0,)),
        ("0.5,0.8,1.0", (0.5, 0.8, 1.0)),
        (" 0.5 , 1 ", (0.5, 1.0)),
        ("[0.5, 1]", (0.5, 1.0)),  # as YAML writes a list
        ("1,0.5,1.0", (1.0, 0.5)),  # each once, in the order that was given
        ("-0.0", (0.0,)),
        ("0,-0", (0.0,)),
        (0.7, (0.7,)),
    ],
)
def test_temperatures(given: Any, expected: tuple[float, ...]) -> None:
    found = config(temperature=given).temperatures
    assert found == expected
    assert [str(value) for value in found] == [str(value) for value in expected]  # 0.0, not -0.0


@pytest.mark.parametrize(
    "changes",
    [{"num_workers": "1:2"}, {"num_files": 10**20}, {"stop": 3}, {"stop": b"x"}, {"stop": None}],
)
def test_values_of_other_types_are_refused_in_one_line(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(InputError, match=f"^{name} is .*; it must be ") as caught:
        SampleConfig(model="models:/m/1", **changes)
    assert "\n" not in str(caught.value)
