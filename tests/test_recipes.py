from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError
from pipeline.recipes import load_recipe, recipe_names
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig

SHIPPED = {
    "pystdlib", "tinyshakespeare", "shakespeare", "paulgraham", "enwik8", "latex", "linux", "names", "warpeace", "post",
}  # fmt: skip


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("scale", ["", "small", "post"])
def test_every_shipped_recipe_is_a_valid_configuration(name: str, scale: str) -> None:
    recipe = load_recipe(name, scale)
    source = recipe["corpus"].pop("source") or "the user's own"
    corpus = CorpusConfig(source=source, **recipe["corpus"])
    assert corpus.name == name
    assert corpus.url
    assert corpus.licence
    TrainConfig(**recipe["train"])
    SampleConfig(**recipe["sample"])


def test_the_recipes_of_the_post_ship() -> None:
    assert set(recipe_names()) == SHIPPED


def test_the_posts_settings_are_the_posts() -> None:
    settings = load_recipe("paulgraham", "post")["train"]
    assert (settings["num_layers"], settings["hidden_size"], settings["dropout"]) == (2, 512, 0.5)
    assert (settings["global_batch_size"], settings["seq_len"]) == (100, 100)
    # Linux: about 10 million parameters for its hundred-odd symbols.
    train = TrainConfig(**load_recipe("linux", "post")["train"])
    h, v = train.hidden_size, 100
    assert train.num_layers == 3
    assert 9e6 < 4 * h * (v + h + 2) + 2 * 4 * h * (2 * h + 2) + v * (h + 1) < 11e6


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
    [
        ("[1]", "no sections"),
        ("trian: {}", "unknown sections"),
        ("train: 3", "must be settings"),
        ("train: {1: 2}", "must be settings"),
        ("a: [", "not YAML"),
        ("scales: [1]", "scales"),
        ("scales: {small: 3}", "scales"),
        ("scales: {small: {trian: {}}}", "unknown sections"),
        ("scales: {small: {train: 3}}", "must be settings"),
    ],
)
def test_a_broken_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(str(path), "small" if "small" in text else "")


def test_recipes_that_take_their_corpus_from_each_other_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(f"corpus: {other}\n")
    other.write_text(f"corpus: {one}\n")
    with pytest.raises(InputError, match="from each other"):
        load_recipe(str(one))


def test_an_unknown_recipe_and_scale_name_what_there_is() -> None:
    with pytest.raises(InputError, match="Did you mean pystdlib"):
        load_recipe("pystlib")
    with pytest.raises(InputError, match="no scale 'huge'"):
        load_recipe("pystdlib", "huge")
