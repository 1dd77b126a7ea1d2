"""Settings by one rule for every way in: read, checked, refused by name and place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from pipeline import settings
from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError
from pipeline.recipes import load_recipe
from pipeline.sampling.config import SampleConfig
from pipeline.settings import Place, Settings, configured, nearest, over, read
from pipeline.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Shape:
    name: str
    size: int = 1
    kind: Literal["round", "square"] = "round"
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings.check(self)
        if self.size < 0:
            raise InputError(f"size is {self.size}; it must be at least 0.")


def refusal(values: Any, section: str = "shape") -> str:
    with pytest.raises(InputError) as refused:
        configured(Shape, values, section)
    return str(refused.value)


def test_texts_become_a_checked_dataclass() -> None:
    texts = Settings.of_texts({"name": "1e3", "size": "1e3", "tags": "[a, b]"})
    assert configured(Shape, texts) == Shape(name="1e3", size=1000, tags=["a", "b"])
    assert configured(Shape, {"name": "a", "size": 2}) == Shape(name="a", size=2)


def test_later_settings_come_over_earlier_ones_with_their_places() -> None:
    first = Settings.of_texts({"name": "a", "size": "2"}, "here")
    then = over(first, {"size": 5})
    assert then == {"name": "a", "size": 5}
    assert then.places == {"name": Place(where="here", written="a")}
    again = over(then, Settings.of_texts({"size": "7"}, "there"))
    assert again.places["size"] == Place(where="there", written="7")
    assert first == {"name": "a", "size": "2"}
    assert over({"x": 1}, {"y": 2}).places == {}


def test_a_value_is_refused_by_its_name_and_place() -> None:
    texts = Settings.of_texts
    assert refusal(texts({"name": "a", "size": "two"})) == (
        "size is 'two'; it must be a whole number below 2**63, such as 8, 1e3 or 16M."
    )
    assert refusal(texts({"name": "a", "kind": "Square"}, "file, line 3")) == (
        "file, line 3: shape.kind is 'Square'; it must be round or square. Did you mean square?"
    )
    assert refusal(texts({"name": "a", "size": "-1"}, "file, line 3")) == (
        "file, line 3: shape.size is -1; it must be at least 0."
    )
    assert refusal(texts({"name": "a", "size": "-1"})) == "size is -1; it must be at least 0."
    assert refusal({"name": "a", "size": "1"}).startswith("size is '1'; it must be a whole number")
    assert refusal({"name": None}) == "name is null; it must be text."
    assert len(refusal({"name": ["x" * 200]})) < 120
    assert refusal({}) == "name is not given; give --name, or name in the recipe's section shape."
    assert refusal({}, "") == "name is not given; give --name."


def test_an_unknown_setting_is_refused_with_the_nearest_one() -> None:
    assert refusal({"name": "a", "sise": 1}) == (
        "section shape has no setting sise. Did you mean size?"
    )
    assert refusal(Settings.of_texts({"x": "1"}, "file, line 2")) == (
        "file, line 2: section shape has no setting x. See --help."
    )
    # As Python's keyword arguments, which belong to no section.
    assert refusal({"sise": 1}, "") == "there is no setting sise. Did you mean size?"
    assert refusal({"x": 1}, "") == "there is no setting x."
    assert nearest("zzz", ["name"]) == ""


def test_reading_looks_at_types_alone() -> None:
    found = read(Shape, Settings.of_texts({"size": "-1"}), "shape")
    assert found == {"size": -1, "kind": "round", "tags": []}


# What recipes could say before, and what came of it.
WRONG = [
    (CorpusConfig, "unit", "word", "'word'"),  # published a version that nobody could read
    (CorpusConfig, "decoding", "Strict", "'Strict'"),  # dropped documents silently
    (CorpusConfig, "separator", "", "null"),  # wrote "null" after every document
    (CorpusConfig, "min_count", "1.5", "'1.5'"),
    (CorpusConfig, "nfc", "maybe", "'maybe'"),
    (CorpusConfig, "seed", str(2**70), f"'{2**70}'"),
    (TrainConfig, "num_layers", "two", "'two'"),  # a traceback
    (TrainConfig, "max_minutes", "5m", "'5m'"),
    (TrainConfig, "learning_rate", ".nan", "'.nan'"),
    (TrainConfig, "hidden_size", "[1]", "['1']"),
    (TrainConfig, "cell", "{a: 1}", "{}"),
    (SampleConfig, "num_chars", "many", "'many'"),
    (SampleConfig, "top_p", "", "null"),
]
SECTIONS = {CorpusConfig: "corpus", TrainConfig: "train", SampleConfig: "sample"}


@pytest.mark.parametrize(("config_class", "name", "text", "found"), WRONG)
def test_a_recipes_wrong_value_is_refused_by_its_line(
    tmp_path: Path, config_class: type[Any], name: str, text: str, found: str
) -> None:
    section = SECTIONS[config_class]
    path = tmp_path / "mine.yaml"
    path.write_text(f"about: it\n{section}:\n  {name}: {text}\n")
    values = load_recipe(str(path))[section]
    with pytest.raises(InputError) as refused:
        configured(config_class, values, section)
    assert str(refused.value).startswith(f"recipe {path}, line 3: {section}.{name} is {found}; ")
    assert "\n" not in str(refused.value)


def test_a_recipe_means_what_a_person_meant(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "corpus: {source: x, include: '*.py', min_count: 1e3, shard_bytes: 16M, nfc: no, url: no}\n"
        "train: {num_workers: 1:2, eval_every: 5m, max_steps: 1e3, resume: 007, compile: off}\n"
        "sample: {temperature: 0.50, prime: yes}\n"
    )
    recipe = load_recipe(str(path))
    corpus = configured(CorpusConfig, recipe["corpus"], "corpus")
    assert (corpus.include, corpus.min_count, corpus.shard_bytes) == (["*.py"], 1000, 16_000_000)
    assert (corpus.nfc, corpus.url) == (False, "no")
    train = configured(TrainConfig, recipe["train"], "train")
    assert (train.workers, train.max_steps) == ((1, 2), 1000)
    assert train.interval("eval_every").minutes == 5
    assert (train.resume, train.compile) == ("007", False)
    sample = configured(SampleConfig, recipe["sample"], "sample")
    assert (sample.temperatures, sample.prime) == ((0.5,), "yes")


@pytest.mark.parametrize(
    ("config_class", "values", "name"),
    [
        (CorpusConfig, {"name": "a", "source": "x", "unit": "word"}, "unit"),
        (CorpusConfig, {"name": "a", "source": "x", "include": "*.py"}, "include"),
        (CorpusConfig, {"name": "a", "source": "x", "min_count": "1"}, "min_count"),
        (CorpusConfig, {"name": "a", "source": "x", "separator": None}, "separator"),
        (TrainConfig, {"corpus": "a", "num_layers": True}, "num_layers"),
        (TrainConfig, {"corpus": "a", "hidden_size": 2**63}, "hidden_size"),
        (SampleConfig, {"model": "a", "top_p": float("nan")}, "top_p"),
        (SampleConfig, {"model": ["a"]}, "model"),
    ],
)
def test_python_is_checked_too(config_class: Any, values: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is .*; it must be "):
        config_class(**values)
