"""Types of settings: what a text is read as, and what Python may give."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from pipeline import kinds

Share = int | float | Literal["rest"]
Unit = Literal["byte", "char"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "0", 0),
        (int, "-3", -3),
        (int, "+3", 3),
        (int, "010", 10),
        (int, "1_000", 1000),
        (int, "1e3", 1000),
        (int, "1.5e3", 1500),
        (int, "16k", 16_000),
        (int, "16M", 16_000_000),
        (int, "1.5G", 1_500_000_000),
        (int, "1Ki", 1024),
        (int, "16Mi", 16 << 20),
        (int, "2Gi", 2 << 30),
        (int, " 7 ", 7),
        (int, str(2**63 - 1), 2**63 - 1),
        (float, "2", 2.0),
        (float, ".5", 0.5),
        (float, "1e-3", 0.001),
        (float, "2k", 2000.0),
        (bool, "yes", True),
        (bool, "True", True),
        (bool, "ON", True),
        (bool, "no", False),
        (bool, "off", False),
        (bool, "false", False),
        (str, "no", "no"),
        (str, "1:2", "1:2"),
        (str, "", ""),
        (Unit, "char", "char"),
        (list[str], "*.py", ["*.py"]),
        (list[str], "[a, 'b c', 1:2, no]", ["a", "b c", "1:2", "no"]),
        (list[str], [], []),
        (list[int], ["1", "1e2"], [1, 100]),
        (str | list[str], "a", "a"),
        (str | list[str], "[a, b]", ["a", "b"]),
        (str | list[str], "[a]*.txt", "[a]*.txt"),
        (str | list[str], ["a", "2"], ["a", "2"]),
        (int | str, "5", 5),
        (int | str, "1e3", 1000),
        (int | str, "5m", "5m"),
        (int | str, "1:2", "1:2"),
        (int | str | list[int], "100,300", "100,300"),
        (int | str | list[int], "[100, 300]", [100, 300]),
        (Share, "rest", "rest"),
        (Share, "0.1", 0.1),
        (Share, "1.0", 1.0),
        (Share, "1e3", 1000),
        (Share, "5e-2", 0.05),
        (str | None, None, None),
        (int | None, "3", 3),
    ],
)
def test_a_text_is_read_as_its_type_says(kind: Any, text: Any, value: Any) -> None:
    read = kinds.read(kind, text)
    assert (type(read), read) == (type(value), value)
    assert kinds.accepts(kind, value)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            int,
            ["two", "", "1.0", "1.5", "1e-1", "0x10", "5m", "5 M", "1e9999", "16Q", "nan", "1,0"],
        ),
        (int, [str(2**63), str(-(2**63)), "1e19", "9999999999999999G", None, {}, ["1"]]),
        (float, ["x", "nan", "inf", "-inf", ".inf", "1e999", "5m", "", None, ["1"]]),
        (bool, ["1", "0", "maybe", "", "y", None, ["true"]]),
        (str, [None, ["a"], {}]),
        (Unit, ["word", "Char", "", None]),
        (list[str], [None, {}, [None], [["a"]], [{}]]),
        (list[int], [["1", "x"], "x", "[1, x]"]),
        (Share, ["half", "nan", None]),
        (str | list[str], [None, {}, [None]]),
        (int | None, ["null", "x"]),
    ],
)
def test_what_is_no_such_value_is_refused(kind: Any, texts: list[Any]) -> None:
    for text in texts:
        with pytest.raises(ValueError):  # noqa: PT011  # the caller says what was wrong
            print(kinds.read(kind, text), "was read from", text)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, np.int64(3), 2**63 - 1], [True, 1.0, "1", None, 2**63, -(2**63), [1]]),
        (float, [0, 0.5, np.float32(1)], [True, "1", None, float("nan"), float("inf"), 2**63]),
        (bool, [True, False], [1, 0, "true", None]),
        (str, ["", "a"], [1, None, b"a", ["a"]]),
        (Unit, ["byte"], ["word", 1, None, ["byte"]]),
        (list[str], [[], ["a"]], ["a", [1], ("a",), None]),
        (Share, [1, 0.5, "rest"], ["half", None, True]),
        (str | None, [None, "a"], [1]),
        (dict[str, Any], [{}, None, 1], []),  # other types are not looked at
    ],
)
def test_python_gives_the_type_itself(kind: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert kinds.accepts(kind, value), value
    for value in bad:
        assert not kinds.accepts(kind, value), value


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (bool, "true or false"),
        (float, "a finite number"),
        (Unit, "byte or char"),
        (Literal["a", "b", "c"], "a, b or c"),
        (Share, "a finite number or rest"),
        (str | list[str], "text or a list such as [a, b]"),
        (int | None, "a whole number below 2**63, such as 8, 1e3 or 16M or null"),
        (dict, "something else"),
    ],
)
def test_what_is_needed_is_said(kind: Any, said: str) -> None:
    assert kinds.needed(kind) == said


def test_the_words_of_a_type() -> None:
    assert kinds.words(Unit) == ["byte", "char"]
    assert kinds.words(Share) == ["rest"]
    assert kinds.words(str) == []
