"""Text to the terminal: the job's bytes, nothing else on stdout, no escape sequences obeyed."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.write import main, visible
from pipeline.registry.fetch import fetch_model
from pipeline.sampling.config import SampleConfig
from pipeline.sampling.run import sample_files
from tests.jobs.conftest import HOUSE
from tests.registering import registered, with_database

GOLDEN = HOUSE / "tests" / "golden"
FOLDER = str(next((GOLDEN / "checkpoint" / "run").glob("checkpoint-*4")))
ARCHIVE = str(GOLDEN / "archive.zip")
SETTINGS: list[dict[str, Any]] = [
    {"num_chars": 300, "seed": 3, "temperature": "0.7"},
    {"num_chars": 200, "top_k": 5, "top_p": 0.9, "temperature": "0"},
    {"num_chars": 400, "stop": "e", "precision": "fp32"},
    {"num_chars": 50, "precision": "int8"},
]


def flags(settings: dict[str, Any]) -> list[str]:
    """A job's settings as this command takes them."""
    named = {"length" if name == "num_chars" else name: value for name, value in settings.items()}
    return [f"--{name}={value}" for name, value in named.items()]


def job_text(folder: Path, model: str, settings: dict[str, Any], number: int = 0) -> bytes:
    """File `number` of the sampling job for these settings."""
    config = SampleConfig(model=model, num_files=number + 1, output=str(folder), **settings)
    sample_files(config, fetch_model(model, str(folder)), str(folder), local=True)
    return (folder / f"sample-{number:05d}.txt").read_bytes()


@pytest.mark.parametrize("model", [FOLDER, ARCHIVE], ids=["folder", "archive"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_stdout_is_the_jobs_file_byte_for_byte(
    model: str, settings: dict[str, Any], tmp_path: Path, capfdbinary: Any
) -> None:
    main([model, "def ", *flags(settings)])
    shown = capfdbinary.readouterr()
    assert shown.out == job_text(tmp_path, model, {"prime": "def ", **settings})
    assert shown.err == b""


def test_a_registered_model_is_written_by_its_name(
    root: str, tmp_path: Path, capfdbinary: Any
) -> None:
    with_database(root)
    registered(root, 16)
    capfdbinary.readouterr()
    main(["texts", "def ", "--root", root, "--length", "90"])
    expected = read_bytes_of(root, tmp_path)
    assert capfdbinary.readouterr().out == expected


def read_bytes_of(root: str, folder: Path) -> bytes:
    config = SampleConfig(
        model="models:/texts/1", prime="def ", num_chars=90, output=str(folder / "job")
    )
    sample_files(config, fetch_model(config.model, root), root, local=True)
    return (folder / "job" / "sample-00000.txt").read_bytes()


LOOK = """
import sys
from jobs.write import main
main(sys.argv[1:])
sys.stdout.flush()
print(*sorted({"torch", "ray", "mlflow", "pandas", "pyarrow"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("model", [FOLDER, ARCHIVE], ids=["folder", "archive"])
def test_a_local_model_is_written_without_the_engines_that_take_seconds(model: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, model, "def ", "--length=20"],
        capture_output=True,
        cwd=HOUSE,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, b"")
    assert done.stdout.startswith(b"def ")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "jobs/write.py", *arguments]


def test_what_is_piped_in_is_the_prime(tmp_path: Path) -> None:
    piped = subprocess.run(
        command(FOLDER, "--length=60"), input=b"def f\n", capture_output=True, cwd=HOUSE, check=True
    )
    expected = job_text(tmp_path, FOLDER, {"prime": "def f\n", "num_chars": 60})
    assert (piped.stdout, piped.stderr) == (expected, b"")


def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    writer = subprocess.Popen(
        command(FOLDER, "def ", "--length=100000000"),
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout
    assert writer.stderr
    assert writer.stdout.read(4) == b"def "
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(60) == 0


def test_ctrl_c_ends_it_quietly_with_130() -> None:
    writer = subprocess.Popen(
        command(FOLDER, "def ", "--length=100000000"),
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout
    assert writer.stdout.read(4) == b"def "
    writer.send_signal(signal.SIGINT)
    _, err = writer.communicate(timeout=60)
    assert (writer.returncode, err) == (130, b"")


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: our end and the command's."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for end in (ours, theirs):
        os.close(end)


def read_until(end: int, wanted: bytes) -> bytes:
    """What the terminal shows, up to and with `wanted`; an error when that does not come."""
    shown = b""
    while wanted not in shown:
        readable, _, _ = select.select([end], [], [], 60)
        assert readable, shown
        shown += os.read(end, 65536)
    return shown


def test_a_terminal_without_a_prime_is_asked_for_one_a_line(
    terminal: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = terminal
    settings = {"prime": "def ", "num_chars": 40}
    first, second = (job_text(tmp_path / str(n), FOLDER, settings, n) for n in range(2))
    writer = subprocess.Popen(
        command(FOLDER, "--length=40"),
        cwd=HOUSE,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    assert writer.stdout
    read_until(ours, b"> ")
    os.write(ours, b"def \n")
    read_until(ours, b"> ")
    os.write(ours, b"\x00\n")  # outside the vocabulary
    assert b"error: prime" in read_until(ours, b"> ")
    os.write(ours, b"def \n")
    read_until(ours, b"> ")
    os.write(ours, b"\x04")
    assert writer.stdout.read() == first + second
    assert writer.wait(60) == 0
    writer.stdout.close()


def test_ctrl_c_ends_a_text_and_then_the_command(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    writer = subprocess.Popen(
        command(FOLDER, "--length=100000000"),
        cwd=HOUSE,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    assert writer.stdout
    read_until(ours, b"> ")
    os.write(ours, b"def \n")
    assert writer.stdout.read(4) == b"def "  # it is writing
    writer.send_signal(signal.SIGINT)
    shown = read_until(ours, b"> ")
    assert b"Traceback" not in shown
    writer.send_signal(signal.SIGINT)
    writer.communicate(timeout=60)
    assert writer.returncode == 130


def test_a_terminal_gets_no_escape_sequences_and_a_pipe_gets_the_bytes(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: Any
) -> None:
    from pipeline.sampling import api

    hostile = [b"a\x1b]0;own", b"ed\x07\xc2", b"\x9b2J\ttab\r"]
    monkeypatch.setattr(api, "written", lambda model, config, number: iter(hostile))
    main([FOLDER, "def "])
    assert capsysbinary.readouterr().out == b"".join(hostile)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    main([FOLDER, "def "])
    assert capsysbinary.readouterr().out == rb"a\x1b]0;owned\x07\x9b2J" + b"\ttab\\r\n"


def test_what_a_terminal_is_shown() -> None:
    assert visible("caf\u00e9\n\t \U0001f600") == "caf\u00e9\n\t \U0001f600"
    assert visible("\x00\x1b[31m\x7f\x9b\u202e") == r"\x00\x1b[31m\x7f\x9b\u202e"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere", "a"], "no complete checkpoint at /nowhere"),
        (["", "a"], "model is empty"),
        ([FOLDER, "\x00"], "outside the vocabulary"),
        ([FOLDER, "a", "--length=0"], "num_chars is 0"),
        ([FOLDER, "a", "--temperature=nan"], "temperature"),
        ([FOLDER, "a", "--temperature=0.5,0.8"], "temperature"),
        ([FOLDER, "a", "--seed=-1"], "seed is -1"),
        ([FOLDER, "a", "--top_p=2"], "top_p is 2.0"),
        ([FOLDER, "a", "--stop=\x00"], "outside the vocabulary"),
        ([FOLDER, "a\udcff"], "prime is not text"),
        ([FOLDER, "a", "--precision=fp16"], "invalid choice: 'fp16'"),
        ([FOLDER, "a", "--lenght=3"], "--lenght"),
        ([], "MODEL"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err


def test_a_prime_that_is_piped_in_must_be_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "piped").write_bytes(b"abc\xff")
    with (tmp_path / "piped").open() as piped:
        monkeypatch.setattr(sys, "stdin", piped)
        with pytest.raises(SystemExit):
            main([FOLDER])
    assert "the prime on stdin is not UTF-8 at byte 3" in capsys.readouterr().err
