"""How a job ends: one line of error or of JSON, and an exit status."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from cluster.connect import ConnectionFailedError
from jobs.ending import conclude, plain, show_table
from pipeline.errors import DamagedError, InputError
from tests.jobs.conftest import refused


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({}, None),
        ({"stopped": False}, None),
        ({"stopped": True}, 130),
        ({"exit_status": 0}, None),
        ({"exit_status": 1}, 1),
        ({"stopped": True, "exit_status": 1}, 130),
    ],
)
def test_the_result_decides_the_exit_status(
    capsys: pytest.CaptureFixture[str], result: dict[str, Any], status: int | None
) -> None:
    code = None
    try:
        conclude(lambda: result)
    except SystemExit as ended:
        code = ended.code
    assert code == status
    assert json.loads(capsys.readouterr().out) == result


def failing(error: BaseException) -> Callable[[], dict[str, Any]]:
    def job() -> dict[str, Any]:
        raise error

    return job


@pytest.mark.parametrize(
    "error",
    [
        InputError("what, found, needed, next."),
        DamagedError("what, found, needed, next."),
        ConnectionFailedError("what, found, needed, next."),
    ],
)
def test_bad_input_of_every_kind_is_its_message(
    capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert refused(capsys, lambda: conclude(failing(error))) == "what, found, needed, next."


def test_bad_input_that_an_engine_wrapped_is_its_own_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class WrappedError(InputError):
        cause = InputError("the reason.")

    error = WrappedError("Traceback (most recent call last):\n ...")
    assert refused(capsys, lambda: conclude(failing(error))) == "the reason."


def test_ctrl_c_is_one_line_and_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        conclude(failing(KeyboardInterrupt()))
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, shown.err) == (130, "", "interrupted\n")


def test_what_is_no_bad_input_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        conclude(failing(ZeroDivisionError()))


def test_jobs_tell_mlflow_to_send_nothing_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    conclude(dict)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    conclude(dict)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"


def test_a_table_has_columns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "unreasonable"):
        show_table([("name", "", "age"), ("a", "latest", "3s"), ("longer", "", "")])
    assert [record.getMessage() for record in caplog.records] == [
        "name            age",
        "a       latest  3s",
        "longer",
    ]


def test_a_job_without_a_result_has_printed_what_was_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    conclude(lambda: None)
    assert capsys.readouterr().out == ""


def test_an_error_of_several_lines_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, lambda: conclude(failing(InputError("a\n  b")))) == "a b"


def test_a_result_is_json_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (float("-inf"),)}}
    conclude(lambda: numbers)
    said = capsys.readouterr().out
    assert json.loads(said) == {"a": None, "b": [1.5, None], "c": {"d": [None]}}
    assert "NaN" not in said


def test_control_characters_are_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert plain("caf\u00e9\n\tone") == "caf\u00e9\n\tone"
    assert plain("\x1b[2J\x07\u202e\r") == r"\x1b[2J\x07\u202e\r"
    with caplog.at_level(logging.INFO, "unreasonable"):
        show_table([("name", "corpus"), ("\x1b[31mred", "texts")])
    assert [record.getMessage() for record in caplog.records] == [
        "name         corpus",
        r"\x1b[31mred  texts",
    ]
    assert refused(capsys, lambda: conclude(failing(InputError("a \x1b[2J")))) == r"a \x1b[2J"
