"""Wrong input from chance at every door, for as long as asked: `make fuzz SECONDS=60`.

`python -m tests.fuzz [--seconds N] [--seed N]`. Hypothesis makes flags, recipes, environments and
requests; a door may take or refuse them, but must not break: one line and exit status 2, or an
InputError, and no traceback. Prints one line; a case that broke a door is printed as what to run
again, and the exit status is 1. Nothing is built or trained: engines do not start.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import runpy
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from pipeline.corpora.config import CorpusConfig
from pipeline.engine.request import Request
from pipeline.errors import InputError
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig
from tests.doors.values import kinds

HOUSE = Path(__file__).resolve().parents[1]

BATCH = 25  # cases between two looks at the clock
CONFIGS = {"corpus": CorpusConfig, "train": TrainConfig, "sample": SampleConfig}
JOBS = {"corpus": "build_corpus", "train": "train", "sample": "sample"}


class EngineStartedError(Exception):
    """A door took its input: the job would begin now."""


@dataclass
class Tally:
    """What came of it: cases by door, and those that broke it."""

    tried: int = 0
    refused: int = 0
    broken: list[str] = field(default_factory=list)


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.integers(1 << 62, 1 << 70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "nan", "inf", "1e3", "16M", "5m", "1:2", "no", "null", "[", "{a: 1}"]),
)
VALUES = st.one_of(
    PLAIN, st.lists(PLAIN, max_size=3), st.dictionaries(st.text(), PLAIN, max_size=2)
)
# A process's arguments hold no NUL and no half characters.
WORDS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    PLAIN.map(str).map(lambda text: text.replace("\0", "")),
    st.sampled_from(["nosuch://x", "zip://a::b", "http://127.0.0.1:1/", "models:/a@b", "..", "/"]),
)


def setting_of(section: str) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(kinds(CONFIGS[section])))


def door_of_flags(tally: Tally, root: str) -> Callable[[], None]:
    """Every job on random flags."""

    @given(st.data())
    def test(data: st.DataObject) -> None:
        section = data.draw(st.sampled_from(sorted(CONFIGS)))
        flags = data.draw(st.dictionaries(setting_of(section), WORDS, min_size=1, max_size=3))
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        run_job(tally, JOBS[section], ["--root", root, *arguments])

    return test


def door_of_recipes(tally: Tally, root: str) -> Callable[[], None]:
    """Every job on random recipes."""

    @given(st.data())
    def test(data: st.DataObject) -> None:
        section = data.draw(st.sampled_from(sorted(CONFIGS)))
        changes = data.draw(st.dictionaries(setting_of(section), VALUES, min_size=1, max_size=3))
        sections: dict[str, Any] = {"corpus": {"source": "/dev/null"}, "train": {}, "sample": {}}
        sections[section].update(changes)
        recipe = Path(root).with_name("mine.yaml")
        recipe.write_text(json.dumps(sections, ensure_ascii=True))
        run_job(tally, JOBS[section], ["--root", root, "--recipe", str(recipe)])

    return test


def door_of_roots(tally: Tally, root: str) -> Callable[[], None]:
    """Random roots: `root` is where a relative one would lie.

    With jobs that do not ask MLflow: to make its database in every new root takes seconds.
    """

    @given(WORDS, st.sampled_from(["--verify", "--list"]))
    def test(word: str, what: str) -> None:
        where = word if "://" in word or "::" in word else f"{root}/{word}"
        run_job(tally, "build_corpus", [f"--root={where}", what])

    return test


def door_of_requests(tally: Tally, root: str) -> Callable[[], None]:
    """The engine's requests, as Python calls them."""
    names = st.sampled_from(["num_chars", "temperature", "top_k", "top_p", "seed", "lines"])

    @given(st.dictionaries(names, VALUES, min_size=1, max_size=3))
    def test(changes: dict[str, Any]) -> None:
        call = {"number": 0, "num_chars": 5, **changes}
        judged(tally, f"Request(**{call!r})", lambda: Request(**call).key)

    return test


DOORS = (door_of_flags, door_of_recipes, door_of_roots, door_of_requests)


def run_job(tally: Tally, name: str, arguments: list[str]) -> None:
    """Run a job's file here, and judge how it ended."""

    def job() -> None:
        sys.argv = [f"jobs/{name}.py", *arguments]
        shown = io.StringIO()
        try:
            with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()):
                runpy.run_path(str(HOUSE / "jobs" / f"{name}.py"), run_name="__main__")
        except SystemExit as ended:
            raise_as_python_would(int(ended.code or 0), shown.getvalue())

    judged(tally, f"jobs/{name}.py {arguments!r}", job)


def raise_as_python_would(status: int, shown: str) -> None:
    """Raise InputError for a job that refused in one line, and AssertionError for any other end."""
    lines = [line for line in shown.splitlines() if line.startswith("error: ")]
    assert status in (0, 2), f"exit status {status}: {shown}"
    if status == 2:
        assert len(lines) == 1, f"not one line: {shown}"
        raise InputError(lines[0])


def judged(tally: Tally, case: str, door: Callable[[], object]) -> None:
    """Try a door. Raises what broke it, so that Hypothesis looks for the smallest such case."""
    tally.tried += 1
    try:
        door()
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError(f"several lines: {case}") from error
        tally.refused += 1
    except EngineStartedError:
        pass
    except Exception as error:
        error.add_note(case)
        raise


@contextlib.contextmanager
def no_engine() -> Iterator[None]:
    """Ray cannot be started; MLflow asks nobody twice."""
    from cluster import connect

    def start(**options: Any) -> None:
        raise EngineStartedError

    connect.ray_session = start  # type: ignore[assignment]
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "UNREASONABLE_ROOT"):
        os.environ.pop(name, None)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # a relative path that chance has made lies there
        try:
            yield
        finally:
            os.chdir(here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    tally = Tally()
    end = time.monotonic() + asked.seconds
    number = asked.seed
    few = settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,  # the next run shows the next one
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    with no_engine():
        while time.monotonic() < end and not tally.broken:
            for door in DOORS:
                root = str(Path.cwd() / "root")
                try:
                    seed(number)(few(door(tally, root)))()
                except Exception as error:
                    notes = " ".join(getattr(error, "__notes__", []))
                    traceback.print_exc(limit=-3)
                    tally.broken.append(f"{door.__name__}, --seed {number}: {notes}")
            number += 1
    for case in tally.broken:
        print(f"broken: {case}")
    print(
        f"fuzz: {tally.tried} cases from seed {asked.seed}, {tally.refused} refused, "
        f"{len(tally.broken)} doors broken"
    )
    raise SystemExit(1 if tally.broken else 0)


if __name__ == "__main__":
    main()
