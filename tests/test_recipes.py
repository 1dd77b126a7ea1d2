from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError
from pipeline.recipes import load_recipe, recipe_names
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_a_valid_configuration(name: str) -> None:
    recipe = load_recipe(name)
    CorpusConfig(**recipe["corpus"])
    TrainConfig(**recipe["train"])
    SampleConfig(**recipe["sample"])


def test_a_recipe_by_path_with_a_scale_and_anothers_corpus(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("corpus: pystdlib\ntrain: {hidden_size: 10}\nscales: {small: {train: {hidden_size: 4}}}\n")
    assert load_recipe(str(path))["train"]["hidden_size"] == 10
    small = load_recipe(str(path), "small")
    assert small["train"]["hidden_size"] == 4
    assert small["train"]["corpus"] == small["corpus"]["name"] == "pystdlib"
    assert small["sample"]["model"] == "models:/mine@champion"


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1]", "no sections"), ("trian: {}", "unknown sections"), ("train: 3", "must be settings"), ("a: [", "not YAML")],
)
def test_a_broken_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(str(path))


def test_an_unknown_recipe_and_scale_name_what_there_is() -> None:
    with pytest.raises(InputError, match="Did you mean pystdlib"):
        load_recipe("pystlib")
    with pytest.raises(InputError, match="no scale 'huge'"):
        load_recipe("pystdlib", "huge")
