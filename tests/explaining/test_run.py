"""An explanation from end to end, in this process."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpora.vocab import Vocab
from pipeline.errors import InputError
from pipeline.explaining import page_text
from pipeline.explaining.config import ExplainConfig
from pipeline.explaining.run import prepare, run_explanation
from pipeline.tasks import Runner, run_here
from tests.explaining.models import artifact
from tests.registering import checkpoint


def last_first(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """What a cluster does: tasks end in any order, and results have been JSON."""
    for index, task in reversed(list(enumerate(tasks))):
        yield index, json.loads(json.dumps(function(task)))


def session(runner: Runner) -> Any:
    @contextlib.contextmanager
    def entered(output: str) -> Iterator[Runner]:
        yield runner

    return entered


@pytest.fixture(scope="module")
def home(root: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("explained")
    (folder / "corpora").symlink_to(Path(root, "corpora"))
    return str(folder)


@pytest.fixture(scope="module")
def model(home: str) -> str:
    return checkpoint(home, 8)


def test_pages_of_a_text_and_of_the_model_and_what_was_found(
    home: str, model: str, tmp_path: Path
) -> None:
    config = ExplainConfig(model=model, finder_bytes=6000, page_bytes=500, output=str(tmp_path))
    done = run_explanation(config, home, session(run_here), {"texts": "python"})
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "cells.json",
        "play.html",
        "text.html",
    ]
    found = json.loads((tmp_path / "cells.json").read_text())
    assert found["kind"] == "python"
    assert found["tokens"] == 6000
    assert found["units"] == 8
    value = done.to_json()
    assert value["share"] == found["found_units"] / 8
    assert set(value["named"]) == {row["name"] for row in found["named"]}
    page = (tmp_path / "text.html").read_text()
    assert "The cells that the post names" in page
    assert len(page) == done.page_bytes["text.html"]
    # Who runs the tasks changes no byte of any page.
    again = tmp_path / "again"
    config = ExplainConfig(model=model, finder_bytes=6000, page_bytes=500, output=str(again))
    run_explanation(config, home, session(last_first), {"texts": "python"})
    for name in ("cells.json", "play.html", "text.html"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_models_page_alone_needs_no_text(model: str, tmp_path: Path) -> None:
    config = ExplainConfig(model=model, play=True, output=str(tmp_path))
    done = run_explanation(config, str(tmp_path / "nowhere"), session(run_here))
    assert list(done.pages) == ["play.html"]
    assert "character-level recurrent language model" in (tmp_path / "play.html").read_text()


def test_without_a_finder_there_is_no_table_of_cells(home: str, model: str, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(b"def f():\n    return 1\n")
    config = ExplainConfig(
        model=model, text=str(text), finder_bytes=0, output=str(tmp_path / "out")
    )
    done = run_explanation(config, home, session(run_here))
    assert done.found is None
    assert "units" not in done.to_json()
    assert not (tmp_path / "out" / "cells.json").exists()


def test_the_kind_is_given_known_or_prose(home: str, model: str) -> None:
    def kind(given: str = "", **kinds: str) -> str:
        return prepare(ExplainConfig(model=model, kind=given), home, kinds).kind

    assert kind() == "prose"
    assert kind(texts="python") == "python"
    assert kind("c", texts="python") == "c"


def test_the_folder_is_named_after_what_decides_the_pages(home: str, model: str) -> None:
    def output(**settings: Any) -> str:
        return prepare(ExplainConfig(model=model, **settings), home).output

    assert output() == output(num_workers=3)
    assert len({output(), output(seed=2), output(page_bytes=9), output(finder_bytes=9)}) == 4


def test_a_text_that_is_not_there_is_one_line(home: str, model: str) -> None:
    with pytest.raises(InputError, match="nowhere"):
        prepare(ExplainConfig(model=model, text="/nowhere.txt"), home)


def test_what_the_page_cannot_show_is_refused_before_the_finder_takes_its_time(
    home: str, model: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"20,001 symbols; a page shows 1 to 20,000\. Lower --pa"):
        prepare(ExplainConfig(model=model, split="train", page_bytes=20_001), home)


def test_a_text_that_is_no_utf8_is_one_line_to_a_model_of_characters() -> None:
    letters = Vocab("char", [10, *range(32, 127)])
    with pytest.raises(InputError, match=r"the text is not UTF-8 at byte 6, and the model reads"):
        page_text.read_text(artifact(vocab=letters), b"the ca\xff", "the text")
