from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import storage
from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError
from pipeline.recipes import DEFAULT, KINDS, SECTIONS, kind_of, load_recipe, recipe_names
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig

SHIPPED = {
    "pystdlib",
    "tinyshakespeare",
    "shakespeare",
    "paulgraham",
    "enwik8",
    "latex",
    "linux",
    "names",
    "warpeace",
    "post",
}


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
    assert recipe_names() == sorted(SHIPPED)
    assert DEFAULT in SHIPPED
    assert SECTIONS == ("corpus", "train", "sample", "evaluate", "explain", "reproduce")


def test_the_posts_settings_are_the_posts() -> None:
    settings = load_recipe("paulgraham", "post")["train"]
    assert (settings["num_layers"], settings["hidden_size"], settings["dropout"]) == (2, 512, 0.5)
    assert (settings["global_batch_size"], settings["seq_len"]) == (100, 100)
    # Linux: about 10 million parameters for its hundred-odd symbols.
    train = TrainConfig(**load_recipe("linux", "post")["train"])
    hidden = train.hidden_size
    vocab = 100
    assert train.num_layers == 3
    first_layer = 4 * hidden * (vocab + hidden + 2)
    two_more_layers = 2 * 4 * hidden * (2 * hidden + 2)
    head = vocab * (hidden + 1)
    assert 9e6 < first_layer + two_more_layers + head < 11e6


def test_a_recipe_by_path_with_a_scale_and_anothers_corpus(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "corpus: pystdlib\ntrain: {hidden_size: 10}\nscales: {small: {train: {hidden_size: 4}}}\n"
    )
    assert load_recipe(str(path))["train"]["hidden_size"] == 10
    small = load_recipe(str(path), "small")
    assert small["train"]["hidden_size"] == 4
    assert small["train"]["corpus"] == small["corpus"]["name"] == "pystdlib"
    assert small["sample"]["model"] == "models:/mine@champion"


def test_what_a_recipe_does_not_say_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("about: what it is\ncorpus: {source: /texts}\nscales: {small: }\n")
    expected = {
        "name": "mine",
        "kind": "",
        "corpus": {"source": "/texts", "name": "mine"},
        "train": {"corpus": "mine"},
        "sample": {"model": "models:/mine@champion"},
        "evaluate": {"model": "models:/mine@champion"},
        "explain": {"model": "models:/mine@champion"},
        "reproduce": {},
        "claims": [],
    }
    assert load_recipe(str(path)) == load_recipe(str(path), "small") == expected
    path.write_text("{corpus: {name: a}, train: {corpus: b}, sample: {model: m}}")
    assert load_recipe(f"{path}/") == {
        "name": "mine",
        "kind": "",
        "corpus": {"name": "a"},
        "train": {"corpus": "b"},
        "sample": {"model": "m"},
        "evaluate": {"model": "models:/mine@champion"},
        "explain": {"model": "models:/mine@champion"},
        "reproduce": {},
        "claims": [],
    }


def test_every_shipped_recipe_says_what_its_text_is() -> None:
    kinds = {name: load_recipe(name)["kind"] for name in recipe_names()}
    assert set(kinds.values()) == set(KINDS)
    assert (kinds["linux"], kinds["pystdlib"], kinds["enwik8"]) == ("c", "python", "wiki")


def test_a_kind_is_no_part_of_the_corpus_and_comes_with_a_lent_one(tmp_path: Path) -> None:
    lender = tmp_path / "lender.yaml"
    lender.write_text("kind: latex\ncorpus: {source: a}\n")
    assert load_recipe(str(lender))["corpus"] == {"source": "a", "name": "lender"}
    borrower = tmp_path / "mine.yaml"
    borrower.write_text(f"corpus: {lender}\n")
    assert load_recipe(str(borrower))["kind"] == "latex"
    borrower.write_text(f"kind: prose\ncorpus: {lender}\n")
    assert load_recipe(str(borrower))["kind"] == "prose"


@pytest.mark.parametrize("kind", ["latec", "[c]", "3"])
def test_a_kind_that_there_is_not_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"kind: {kind}\n")
    with pytest.raises(InputError, match="it must be one of c, latex, wiki, python, play, names"):
        load_recipe(str(path))


def test_a_recipe_without_a_corpus_trains_on_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {hidden_size: 3}")
    assert load_recipe(str(path))["corpus"] == {}
    assert load_recipe(str(path))["train"] == {"hidden_size": 3}


def test_a_scale_changes_single_settings_of_each_section(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "train: {a: 1, b: 2}\nsample: {c: 3}\n"
        "scales: {post: {train: {b: 5}, sample: {c: 4, d: 6}}, small: {train: {a: 9}}}\n"
    )
    post = load_recipe(str(path), "post")
    assert post["train"] == {"a": 1, "b": 5}
    assert post["sample"] == {"c": 4, "d": 6, "model": "models:/mine@champion"}
    assert load_recipe(str(path))["train"] == {"a": 1, "b": 2}


def test_a_lent_corpus_takes_the_scale_where_its_recipe_has_it(tmp_path: Path) -> None:
    lender, other, borrower = (tmp_path / f"{name}.yaml" for name in ("lender", "other", "mine"))
    lender.write_text("corpus: {source: a}\nscales: {small: {corpus: {source: b}}}\n")
    other.write_text("corpus: {source: a, name: lent}\n")
    for path, corpus in ((lender, {"name": "lender", "source": "b"}),
                         (other, {"name": "lent", "source": "a"})):  # fmt: skip
        borrower.write_text(f"corpus: {path}\nscales: {{small: {{corpus: {{url: u}}}}}}\n")
        recipe = load_recipe(str(borrower), "small")
        assert recipe["corpus"] == {**corpus, "url": "u"}
        assert recipe["train"]["corpus"] == corpus["name"]
        assert recipe["name"] == "mine"


def test_a_recipe_by_url() -> None:
    storage.write_bytes("memory://recipes/mine.yaml", b"train: {hidden_size: 5}")
    recipe = load_recipe("memory://recipes/mine.yaml")
    assert (recipe["name"], recipe["train"]["hidden_size"]) == ("mine", 5)
    storage.remove_tree("memory://recipes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "no sections"),
        ("trian: {}", "unknown sections"),
        ("train: 3", "must be settings"),
        ("train: {1: 2}", "the name 1 must be a word"),
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


ALLOWED = "about, corpus, evaluate, explain, kind, name, reproduce, sample, scales, train"
SCALABLE = "corpus, evaluate, explain, reproduce, sample, train"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[1]",
            (
                "recipe {p} holds no sections; "
                "it needs some of corpus, train, sample, evaluate, explain, reproduce."
            ),
        ),
        ("b: 1\na: 2", f"recipe {{p}} has unknown sections a, b; it may have {ALLOWED}."),
        ("{train: 3, scales: {small: }}", "section train of recipe {p} is 3; it must be settings."),
        (
            "{train: {1: 2}, scales: {small: }}",
            "recipe {p}, line 1: the name 1 must be a word.",
        ),
        (
            "scales: [1]",
            "section scales of recipe {p} must hold settings by scale and section.",
        ),
        (
            "scales: {small: {about: {}}}",
            f"scale small of recipe {{p}} has unknown sections about; it may have {SCALABLE}.",
        ),
        ("scales: {big: {}, post: {}}", "recipe small has no scale 'small'; it has big, post."),
        ("train: {}", "recipe small has no scale 'small'; it has none."),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refused:
        load_recipe(str(path), "small")
    assert str(refused.value) == message.format(p=path)


def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name in ("none.yaml", "none.yml", "none/"):
        with pytest.raises(InputError) as refused:
            load_recipe(f"{tmp_path}/{name}")
        message = str(refused.value)
        assert message.startswith(f"cannot read recipe {tmp_path}/{name}: FileNotFoundError: ")
    with pytest.raises(InputError, match=r"cannot read recipe none.yaml: FileNotFoundError"):
        load_recipe("none.yaml")
    with pytest.raises(InputError, match=r"^cannot open 'nosuch://x/y.yaml'"):
        load_recipe("nosuch://x/y.yaml")


def test_recipes_that_take_their_corpus_from_each_other_are_refused(tmp_path: Path) -> None:
    one = tmp_path / "one.yaml"
    other = tmp_path / "other.yaml"
    one.write_text(f"corpus: {other}\n")
    other.write_text(f"corpus: {one}\n")
    with pytest.raises(InputError) as refused:
        load_recipe(str(one))
    assert str(refused.value) == (
        f"recipes {one} -> {other} -> {one} take their corpus from each other."
    )


def test_an_unknown_recipe_and_scale_name_what_there_is() -> None:
    with pytest.raises(InputError) as refused:
        load_recipe("pystlib")
    assert str(refused.value) == (
        f"no recipe 'pystlib'; there are {', '.join(sorted(SHIPPED))}, or give a path or URL. "
        "Did you mean pystdlib?"
    )
    with pytest.raises(InputError, match=r"or give a path or URL\.$"):
        load_recipe("zzz")
    with pytest.raises(InputError, match="recipe pystdlib has no scale 'huge'; it has "):
        load_recipe("pystdlib", "huge")


def test_the_kind_of_a_shipped_recipe_is_known_by_its_name() -> None:
    assert kind_of("linux") == "c"
    assert kind_of("nobody") == kind_of("") == ""
