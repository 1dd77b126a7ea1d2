"""Values of a wrong type in recipes, broken records of other rooms, and wrong calls from Python.

What refuses them is one checker for recipes, flags and Python (pipeline/settings.py), and the rooms
themselves; here is only what they have to refuse.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipeline.corpora.config import CorpusConfig
from pipeline.engine.request import Request
from pipeline.errors import InputError
from pipeline.sampler import Model, load_model, sample, stream
from pipeline.sampling.config import SampleConfig
from pipeline.training.config import TrainConfig
from tests.doors.house import contents, shown
from tests.doors.test_files import broken
from tests.doors.values import HUGE, PYTHON, YAML, wrong

__all__ = ["broken"]  # a fixture

Refused = Callable[..., str]

SECTIONS: dict[str, tuple[str, type[Any]]] = {
    "corpus": ("build_corpus", CorpusConfig),
    "train": ("train", TrainConfig),
    "sample": ("sample", SampleConfig),
}
RECIPES = [
    (section, setting, value)
    for section, (_, config_class) in SECTIONS.items()
    for setting, _, value in wrong(config_class, YAML)
] + [
    ("corpus", "source", None),
    ("corpus", "source", 5),
    ("corpus", "source", [5]),
    ("corpus", "source", {"a": 1}),
    ("corpus", "val", None),
    ("corpus", "val", "most"),
    ("corpus", "val", [0.1]),
    ("corpus", "val", float("nan")),
    ("corpus", "name", "a\0b"),
    ("corpus", "include", [5]),
    ("corpus", "exclude", [None]),
    ("train", "num_workers", None),
    ("train", "num_workers", [1, 4]),
    ("train", "num_workers", 1.5),
    ("train", "eval_every", None),
    ("train", "eval_every", [5]),
    ("train", "eval_every", 1.5),
    ("train", "sample_every", {"a": 1}),
    ("train", "sample_every", None),
    ("train", "corpus", "a\0b"),
    ("train", "resume", "a\0b"),
    ("sample", "model", "a\0b"),
    ("sample", "output", "/tmp/a\0b"),
    ("sample", "prime_file", "/tmp/a\0b"),
]
HUGE_FLAGS = [
    (job, setting, value)
    for job, config_class in SECTIONS.values()
    for setting, kind, _ in wrong(config_class, {"int": (None,)})
    for value in (HUGE, -HUGE)
]


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    RECIPES,
    ids=[f"{section}-{setting}-{shown(value)}" for section, setting, value in RECIPES],
)
def test_a_recipes_value_of_another_type_is_refused_by_name(
    refused: Refused, recipe_of: Callable[..., str], section: str, setting: str, value: Any
) -> None:
    job, _ = SECTIONS[section]
    line = refused(job, "--recipe", recipe_of(section, **{setting: value}))
    # A NUL is refused wherever a path is made of it, which knows no setting.
    assert setting in line or "NUL" in line


@pytest.mark.parametrize(("job", "setting", "value"), HUGE_FLAGS)
def test_a_number_beyond_two_to_the_63_is_refused_by_name(
    refused: Refused, job: str, setting: str, value: int
) -> None:
    assert setting in refused(job, f"--{setting}={value}")


@pytest.mark.parametrize(
    ("file", "content", "job"),
    [
        ("corpora/texts/LATEST", b"\xff\xfe", ["train", "--corpus", "texts"]),
        ("corpora/texts/sources.json", b'{"sources": 5, "state": 1}', ["build_corpus"]),
        (
            "runs/begun/start.json",
            json.dumps(
                {
                    "format": 1,
                    "corpus": {"name": "texts", "version": "1", "fingerprint": "1"},
                    "recipe": "texts",
                    "config": {"corpus": "texts", "num_layers": "two"},
                }
            ).encode(),
            ["train", "--resume", "begun"],
        ),
    ],
)
def test_other_rooms_refuse_their_own_broken_files(
    refused: Refused,
    broken: Callable[[str, bytes], str],
    file: str,
    content: bytes,
    job: list[str],
) -> None:
    name, *arguments = job
    refused(name, "--root", broken(file, content), *arguments)


# ---- from Python

REQUESTS: list[dict[str, Any]] = [
    *({"num_chars": value} for value in (*PYTHON["int"], 0, -1)),
    *({"top_k": value} for value in (*PYTHON["int"], -1)),
    *({"lines": value} for value in (*PYTHON["int"], -1)),
    *({"seed": value} for value in (*PYTHON["int"], -1, 1 << 63)),
    *({"temperature": value} for value in PYTHON["float"]),
    *({"top_p": value} for value in (*PYTHON["float"], 0, 1.5)),
]
CALLS: list[dict[str, Any]] = [
    *REQUESTS,
    *({"number": value} for value in (*PYTHON["int"], -1)),
    *({"prime": value} for value in (*PYTHON["text"], "\ud800", "\x00")),
    *({"stop": value} for value in (*PYTHON["text"], "\ud800", "\x00")),
    *({"unknown": value} for value in PYTHON["choice"]),
    {"temperature": "0.5,0.8"},
    {"lines": 2, "stop": "x"},
]


def named_in(call: dict[str, Any], error: Exception) -> None:
    line = str(error)
    assert "\n" not in line
    assert next(iter(call)) in line


@pytest.mark.parametrize("call", CALLS, ids=map(shown, CALLS))
def test_python_refuses_a_wrong_argument_by_name(model: Model, call: dict[str, Any]) -> None:
    # An argument that goes through must not write a text without end.
    few = {"num_chars": 5} | call
    with pytest.raises(InputError) as caught:
        sample(model, **few)
    named_in(call, caught.value)
    with pytest.raises(InputError):
        next(stream(model, **few))


def test_an_argument_that_there_is_not_is_pythons_own_error(model: Model) -> None:
    with pytest.raises(TypeError, match="warmth"):
        sample(model, warmth=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="warmth"):
        stream(model, warmth=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("reference", [None, 5, "", "\0", "models:/", "/no/such", [1], b"x"])
def test_a_model_that_is_none_is_refused(house: str, reference: Any) -> None:
    before = contents(house)
    with pytest.raises(InputError) as caught:
        load_model(reference, house)
    assert "\n" not in str(caught.value)
    assert contents(house) == before


@pytest.mark.parametrize("precision", [None, 5, "int4", "", [1]])
def test_a_precision_that_is_none_is_refused(checkpoint_url: str, precision: Any) -> None:
    with pytest.raises(InputError, match="precision"):
        load_model(checkpoint_url, precision=precision)


@pytest.mark.parametrize("call", REQUESTS, ids=map(shown, REQUESTS))
def test_the_engine_refuses_a_wrong_request_by_name(call: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Request(**{"number": 0, "num_chars": 5} | call)
    named_in(call, caught.value)


@pytest.fixture(scope="module")
def pyfunc(house: str) -> Any:
    """The registered model as MLflow runs it."""
    from pipeline.registry.tracking import Tracking

    Tracking(house)
    return mlflow.pyfunc.load_model("models:/texts/1")


# MLflow's schema reads 1.0 as 1 and true as 1, and lets no None through.
PARAMS = [
    *({"num_chars": value} for value in (0, -1, "two", [1], HUGE)),
    *({"temperature": value} for value in (-1.0, float("nan"), float("inf"), "warm", [1])),
    *({"top_p": value} for value in (0.0, 1.5, float("nan"), "all")),
    *({"top_k": value} for value in (-1, "two", HUGE)),
    *({"lines": value} for value in (-1, "two")),
    *({"seed": value} for value in (-1, "two", 1 << 63)),
    {"stop": "\x00"},
    {"lines": 2, "stop": "x"},
    {"warmth": 1},
]


@pytest.mark.parametrize("params", PARAMS, ids=map(shown, PARAMS))
def test_what_mlflow_runs_refuses_a_wrong_parameter(pyfunc: Any, params: dict[str, Any]) -> None:
    with pytest.raises(mlflow.exceptions.MlflowException) as caught:
        pyfunc.predict(["def "], params={"num_chars": 5} | params)
    assert next(iter(params)) in str(caught.value)


def test_a_full_table_of_wrong_recipes(house: str) -> None:
    assert Path(house).is_dir()
    assert len(RECIPES) + len(HUGE_FLAGS) + len(CALLS) + len(PARAMS) > 300
