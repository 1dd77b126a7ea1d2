"""The parser of all commands: one line of error, help as it is written."""

from __future__ import annotations

import pytest

from jobs.arguments import Parser
from tests.jobs.conftest import refused


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="x")
    parser.add_root()
    parser.add_count("--keep", 3, "how many to keep", least=1)
    parser.add_argument("--kind", choices=["round", "square"], help="100% of it")
    return parser


def test_values_arrive_by_flag(parser: Parser) -> None:
    assert parser.parse_args(["--keep", "1e3"]).as_dict()["keep"] == 1000
    assert parser.parse_args([]).keep == 3
    assert parser.parse_args(["--root=/r"]).root == "/r"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--kep", "1"], "unrecognized arguments: --kep 1. Did you mean --keep? See --help."),
        (["--keep"], "argument --keep: expected one argument. See --help."),
        (["--keep", "0"], "argument --keep: '0' is not a whole number of at least 1. See --help."),
        (["--keep", "x"], "argument --keep: 'x' is not a whole number of at least 1. See --help."),
        (["--kind", "sqare"], "Did you mean square? See --help."),
        (["--ro", "x"], "unrecognized arguments: --ro x."),
        (["stray"], "unrecognized arguments: stray. See --help."),
    ],
)
def test_an_error_is_one_line(
    parser: Parser, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    assert message in refused(capsys, lambda: parser.parse_args(argv))


def test_help_is_shown_as_it_is_written(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["-h"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--keep N " in shown
    assert "how many to keep (default: 3)" in shown
    assert "100% of it" in shown
