"""The explaining job as a person runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.conftest import Run
from tests.registering import checkpoint


@pytest.fixture(scope="module")
def home(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("explain")
    (folder / "corpora").symlink_to(Path(root, "corpora"))
    return str(folder)


@pytest.fixture(scope="module")
def model(home: str) -> str:
    return checkpoint(home, 8)


def test_its_last_line_says_where_the_pages_are(
    home: str, model: str, run: Run, no_ray: None
) -> None:
    quick = ["--finder_bytes", "4k", "--page_bytes", "300"]
    found = run("explain", "--root", home, "--model", model, *quick).result
    page = Path(found["pages"]["text.html"])
    assert page.parent.parent == Path(home, "explanations")
    assert page.stat().st_size == found["bytes"]["text.html"]
    assert found["units"] == 8
    assert found["named"]["quotes"] in ("found", "not found", "too rare")


def test_a_dry_run_says_what_would_be_written(
    home: str, model: str, run: Run, no_ray: None
) -> None:
    done = run("explain", "--root", home, "--model", model, "--dry_run").result
    assert done["kind"] == "prose"
    assert not Path(done["output"]).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nobody"], "no model 'nobody'"),
        (["--text", "/nowhere.txt"], "nowhere.txt"),
        (["--text", "/dev/null"], "text /dev/null is empty"),
        (["--evolution", "nobody"], "there is no run at"),
        (["--kind", "perl"], "kind is 'perl'"),
        (["--output", "/proc/x"], "cannot write under /proc/x"),
    ],
)
def test_bad_input_is_one_clear_line(
    home: str, model: str, run: Run, no_ray: None, arguments: list[str], message: str
) -> None:
    own = [] if "--model" in arguments else ["--model", model]
    assert message in run("explain", "--root", home, *own, *arguments).refusal
