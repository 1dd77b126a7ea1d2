from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.scheduling.config import BUILD, TRAIN, Schedule
from pipeline.scheduling.load import load_schedules

HOUSE = Path(__file__).parents[2]
GOOD = "{name: a, cron: '0 3 * * *', recipe: pystdlib}"
OTHER = "{name: b, cron: '0 4 * * *', recipe: latex}"
SETTINGS = "build, cron, name, on_failure, recipe, retries, retry_after_s, scale, timezone, train"
NEEDED = "a schedule needs name, cron and recipe."


def load(folder: Path, text: str) -> list[Schedule]:
    (folder / "schedule.yaml").write_text(text)
    return load_schedules(str(folder / "schedule.yaml"))


def entry(changes: str) -> str:
    return f"schedules: [{{name: a, cron: '* * * * *', recipe: pystdlib, {changes}}}]"


def test_a_file_is_a_list_of_schedules(tmp_path: Path) -> None:
    assert load(tmp_path, f"schedules: [{GOOD}, {OTHER}]") == [
        Schedule(name="a", cron="0 3 * * *", recipe="pystdlib"),
        Schedule(name="b", cron="0 4 * * *", recipe="latex"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schedules: []", "schedule file {url} has no list under `schedules`."),
        ("schedules: {a: 1}", "schedule file {url} has no list under `schedules`."),
        ("[1]", "schedule file {url} has no list under `schedules`."),
        ("plan: [1]", "schedule file {url} has no list under `schedules`."),
        ("schedules: [3]", f"{{url}}, entry 1: {NEEDED}"),
        (f"schedules: [{GOOD}, {{name: b, recipe: latex}}]", f"{{url}}, entry 2: {NEEDED}"),
        (
            entry("hours: 3, days: 4"),
            f"{{url}}, entry 1: no setting days, hours; there are {SETTINGS}.",
        ),
        (
            f"schedules: [{GOOD}, {OTHER}, {OTHER}, {GOOD}]",
            "{url}: schedule a, b is there more than once.",
        ),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        load(tmp_path, text)
    assert str(refused.value) == message.format(url=tmp_path / "schedule.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", r"^schedule file .*/schedule.yaml is not YAML: while parsing .*\S$"),
        ("a: \x01", r"^schedule file .*/schedule.yaml is not YAML: "),
        ("schedules: [{name: A B, cron: '* * * * *', recipe: pystdlib}]", "lower-case"),
        ("schedules: [{name: a, cron: 'x', recipe: pystdlib}]", "Give five fields"),
        ("schedules: [{name: a, cron: '* * * * *', recipe: nope}]", "no recipe 'nope'"),
        (entry("retries: -1"), "retries is -1"),
        (entry("timezone: Nowhere"), "no time zone 'Nowhere'"),
    ],
)
def test_a_wrong_schedule_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        load(tmp_path, text)
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schedule.yaml").write_bytes(b"\xff\xfe\xff\xff")
    with pytest.raises(InputError, match="is not YAML"):
        load_schedules(str(tmp_path / "schedule.yaml"))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError) as refused:
        load_schedules("/no/where.yaml")
    assert str(refused.value) == "no schedule file /no/where.yaml; see cluster/schedule.yaml."


def test_a_long_complaint_of_yaml_is_cut(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        load(tmp_path, "a: " + "[" * 3 + "'" + "x" * 400)
    reason = str(refused.value).partition("is not YAML: ")[2]
    assert 0 < len(reason) <= 200


def test_the_schedules_that_ship_are_right() -> None:
    schedules = load_schedules(str(HOUSE / "cluster" / "schedule.yaml"))
    assert [schedule.corpus for schedule in schedules] == ["linux", "latex", "enwik8"]
    linux = ["--recipe", "linux", "--root", "/r"]
    assert schedules[0].command(BUILD, "/r")[:5] == ["jobs/build_corpus.py", *linux]
    assert schedules[0].command(TRAIN, "/r", "linux@1")[:5] == ["jobs/train.py", *linux]
