"""YAML as a person means it: values with their lines and texts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.settings import Place, Settings
from pipeline.yaml_files import dump, load

TEXT = """
a:
  b: 1:2
  c: no
  d: 010
  e: 1e3
  f: 2020-01-01
  g: ~
  h: "5"
  i: [1, no, ~, {x: 1}]
  j: true
  k: .inf
"""


def test_a_value_keeps_its_text_and_its_line() -> None:
    value = load(TEXT, "recipe r")["a"]
    assert isinstance(value, Settings)
    assert value == {
        "b": "1:2",
        "c": "no",
        "d": 10,
        "e": 1000.0,
        "f": "2020-01-01",
        "g": None,
        "h": "5",
        "i": [1, "no", None, {"x": 1}],
        "j": True,
        "k": float("inf"),
    }
    assert value.places["b"] == Place(where="recipe r, line 3", written="1:2")
    assert value.places["d"].written == "010"
    assert value.places["g"] == Place(where="recipe r, line 8", written=None)
    assert value.places["h"].written == "5"
    assert value.places["i"].written == ["1", "no", None, {}]


def test_anchors_and_merges_are_understood() -> None:
    value = load("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n", "r")
    assert value["b"] == {"x": 1, "y": 3}
    assert value["b"].places["y"].where == "r, line 4"
    assert value["b"].places["x"].where == "r, line 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "^r is not YAML: "),
        ("a: 1\nb: 2\na: 3", "^r, line 3: a was there before: r, line 1.$"),
        ("1: 2", "^r, line 1: the name 1 must be a word.$"),
        ("? [a]\n: 2", r"^r, line 1: the name \['a'\] must be a word.$"),
        ("a: !!python/object:os.system {}", "^r is not YAML: could not determine a constructor"),
        ("a: " + "9" * 5000, "^r is not YAML: "),
        ("a: \x00", "^r is not YAML: "),
        ("x: &a [*a]", "^r is not YAML: found unconstructable recursive node"),
        ("a: 1\n---\nb: 2", "^r is not YAML: expected a single document"),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        load(text, "r")
    assert "\n" not in str(refused.value)


def test_aliases_of_aliases_stay_small() -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in itertools.pairwise(names)
    ]
    value = load("\n".join(lines), "r")
    assert value.places["z"].written == [{}] * 9


def test_nothing_is_nothing() -> None:
    assert load("", "r") is None
    assert load("- 1\n- a", "r") == [1, "a"]


@pytest.mark.parametrize(
    "value",
    ["no", "1:2", "1e3", "5", "010", "true", "", "~", "null", ".5", "a: b", "\n\té", "[a]",
     1e-5, 1e22, 0.1, 5, True, ["1", 2, "no"], [], "x" * 300, "<<", "# x", "2020-01-01"],
)  # fmt: skip
def test_what_is_written_is_read_again(value: Any) -> None:
    text = dump({"train": {"a": value, "b": value}})
    read = load(text, "r")["train"]["a"]
    assert (type(read), read) == (type(value), value)
