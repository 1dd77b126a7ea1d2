from __future__ import annotations

import random

import pytest

from pipeline.errors import InputError
from pipeline.explaining.labels.by_kind import labels_of
from pipeline.recipes import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_text_has_a_value_for_every_symbol(kind: str) -> None:
    draws = random.Random(1)
    pieces = ["{{", "[[", "]]", '"""', "'", '"', "/*", "*/", "//", "$", "$$", "\\", "\\begin{", "}"]
    pieces += [
        "\x00",
        "\n",
        "\n\n",
        "é",
        "if",
        " ",
        "(",
        ")",
        "www.",
        "http://",
        "<",
        ">",
        "def f(",
    ]
    text = "".join(draws.choices(pieces, k=3000))
    for label in labels_of(text.encode(), kind, "char"):
        assert len(label.values) == len(text), label.name
    assert all(len(label.values) == 0 for label in labels_of(b"", kind, "byte"))


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_distinct(kind: str) -> None:
    names = [label.name for label in labels_of(b"a b\n", kind, "byte")]
    assert len(names) == len(set(names))


def test_bytes_have_a_value_each() -> None:
    assert len(labels_of("é\n".encode(), "prose", "byte")[0].values) == 3
    assert len(labels_of(b"\xff\xfe", "prose", "byte")[0].values) == 2


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"kind is 'pyton'; it must be one of.*python"):
        labels_of(b"a", "pyton", "byte")


@pytest.mark.parametrize("kind", KINDS)
def test_a_carriage_return_alone_ends_a_line(kind: str) -> None:
    text = b'A: "b\n\n(c) # d\n  if e:\n'
    wanted = labels_of(text, kind, "byte")
    found = labels_of(text.replace(b"\n", b"\r"), kind, "byte")
    for label, other in zip(wanted, found, strict=True):
        assert label.values.tolist() == other.values.tolist(), label.name


def test_a_line_that_ends_with_both_ends_once() -> None:
    (label,) = (each for each in labels_of(b"ab\r\nc", "prose", "byte") if "in line" in each.name)
    assert label.values.tolist() == [1, 2, 3, 0, 1]
