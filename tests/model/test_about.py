"""A model's config.json: what is written is read back, and what is no config is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference, Lineage, ModelAbout, PrecisionCheck
from pipeline.model.artifact import json_bytes
from pipeline.model.config import ModelConfig

GOLDEN = Path(__file__).parent.parent / "golden"

CHECKPOINT = ModelAbout(
    model=ModelConfig(vocab_size=7, cell="gru", num_layers=1, hidden_size=5),
    corpus=CorpusReference("texts", "0123abcd", "0123abcdef"),
    first_tokens=((0, 3), (6, 1)),
    train={"optimizer": "adam", "seed": 1},
    step=40,
    metrics={"val_loss": 1.5},
)
REGISTERED = replace(
    CHECKPOINT,
    lineage=Lineage(("a.txt", "b.zip"), "char", 12, "ff00", 3456, "https://x.example", "CC0"),
    sampling=PrecisionCheck("int8", 4096, 1.25, 1.2501),
)
# What stands in the file, by hand.
CHECKPOINT_JSON: dict[str, Any] = {
    "format": 1,
    "model": {
        "vocab_size": 7,
        "cell": "gru",
        "num_layers": 1,
        "hidden_size": 5,
        "embedding_size": 0,
        "dropout": 0.0,
    },
    "corpus": {"name": "texts", "version": "0123abcd", "fingerprint": "0123abcdef"},
    "first_tokens": [[0, 3], [6, 1]],
    "train": {"optimizer": "adam", "seed": 1},
    "step": 40,
    "metrics": {"val_loss": 1.5},
}
REGISTERED_JSON: dict[str, Any] = {
    **CHECKPOINT_JSON,
    "lineage": {
        "sources": ["a.txt", "b.zip"],
        "unit": "char",
        "documents": 12,
        "documents_sha256": "ff00",
        "bytes": 3456,
        "url": "https://x.example",
        "licence": "CC0",
    },
    "sampling": {
        "precision": "int8",
        "tokens": 4096,
        "nats_fp32": 1.25,
        "nats_int8": 1.2501,
    },
}


def test_a_checkpoints_config_is_written_and_read_back() -> None:
    assert CHECKPOINT.to_json() == CHECKPOINT_JSON
    assert ModelAbout.from_json(CHECKPOINT_JSON, "m") == CHECKPOINT


def test_a_registered_models_config_is_written_and_read_back() -> None:
    assert REGISTERED.to_json() == REGISTERED_JSON
    # Through bytes, as a file has it: no tuple is left.
    written = json.loads(json_bytes(REGISTERED.to_json()))
    assert written == REGISTERED_JSON
    assert ModelAbout.from_json(written, "m") == REGISTERED


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("**/config.json")), ids=str)
def test_a_golden_config_is_written_again_with_the_same_bytes(path: Path) -> None:
    data = path.read_bytes()
    assert json_bytes(ModelAbout.from_json(json.loads(data), "m").to_json()) == data


def test_there_are_golden_configs() -> None:
    assert len(list(GOLDEN.glob("**/config.json"))) >= 2


def test_what_a_config_need_not_say() -> None:
    sections = {name: CHECKPOINT_JSON[name] for name in ("format", "model", "corpus")}
    assert ModelAbout.from_json(sections, "m") == ModelAbout(
        model=CHECKPOINT.model, corpus=CHECKPOINT.corpus
    )
    least = ModelAbout(model=CHECKPOINT.model, corpus=CHECKPOINT.corpus)
    assert asdict(least) == {
        "model": asdict(CHECKPOINT.model),
        "corpus": asdict(CHECKPOINT.corpus),
        "first_tokens": (),
        "train": {},
        "step": 0,
        "metrics": {},
        "lineage": None,
        "sampling": None,
    }
    empty = {**CHECKPOINT_JSON, "lineage": {}, "sampling": {}}
    assert ModelAbout.from_json(empty, "m") == CHECKPOINT


def test_fields_of_a_lineage_that_are_not_there() -> None:
    assert Lineage.from_json({}) == Lineage()
    assert Lineage().to_json() == {
        "sources": [],
        "unit": "?",
        "documents": 0,
        "documents_sha256": "",
        "bytes": 0,
        "url": "",
        "licence": "",
    }
    some = Lineage.from_json({"sources": ["x"], "bytes": 5})
    assert some == Lineage(sources=("x",), bytes=5)


def test_a_corpus_reference_reads_as_a_job_takes_it() -> None:
    assert str(CHECKPOINT.corpus) == "texts@0123abcd"


def test_a_precision_that_was_not_measured_has_no_figures() -> None:
    assert PrecisionCheck("fp32", 0).to_json() == {"precision": "fp32", "tokens": 0}
    assert PrecisionCheck.from_json({"precision": "fp32", "tokens": 0}) == PrecisionCheck("fp32", 0)
    half = PrecisionCheck("int8", 2, nats_int8=0.0)  # a figure of 0 is a figure
    assert half.to_json() == {"precision": "int8", "tokens": 2, "nats_int8": 0.0}


def test_the_precision_is_the_measured_one_else_fp32() -> None:
    assert CHECKPOINT.precision == "fp32"
    assert REGISTERED.precision == "int8"
    assert replace(CHECKPOINT, sampling=PrecisionCheck("fp32", 9)).precision == "fp32"
    # A word that is none, from a file of another hand, is not taken for int8.
    assert replace(CHECKPOINT, sampling=PrecisionCheck("int4", 9)).precision == "fp32"  # type: ignore[arg-type]


NOTHING_LEARNED = "m/c.json does not say what the model learned; fetch the model again."
NO_PAIRS = (
    "m/c.json: first_tokens are not (token, count) pairs of the vocabulary; fetch the model again."
)
OTHER_FORMAT = "m/c.json is not of a format 1 model; use the program's version that wrote it."


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in REGISTERED_JSON.items() if name not in names}


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (None, DamagedError, NOTHING_LEARNED),
        ([1], DamagedError, NOTHING_LEARNED),
        ({}, DamagedError, NOTHING_LEARNED),
        (without("format"), DamagedError, NOTHING_LEARNED),
        (without("corpus"), DamagedError, NOTHING_LEARNED),
        ({**REGISTERED_JSON, "corpus": {}}, DamagedError, NOTHING_LEARNED),
        ({**REGISTERED_JSON, "corpus": ["texts"]}, DamagedError, NOTHING_LEARNED),
        ({**REGISTERED_JSON, "train": [1]}, DamagedError, NOTHING_LEARNED),
        ({**REGISTERED_JSON, "metrics": 1.5}, DamagedError, NOTHING_LEARNED),
        ({**REGISTERED_JSON, "lineage": None}, DamagedError, NOTHING_LEARNED),
        ({**REGISTERED_JSON, "sampling": "int8"}, DamagedError, NOTHING_LEARNED),
        ({**REGISTERED_JSON, "format": 2}, InputError, OTHER_FORMAT),
        ({**REGISTERED_JSON, "format": 0}, InputError, OTHER_FORMAT),
        ({"format": 2}, InputError, OTHER_FORMAT),
        (
            without("model"),
            DamagedError,
            "m/c.json does not describe a model (no model section); fetch the model again.",
        ),
        (
            {**REGISTERED_JSON, "model": {"vocab_size": 0}},
            DamagedError,
            (
                "m/c.json does not describe a model (vocab_size 0 is no number of at least 1); "
                "fetch the model again."
            ),
        ),
        ({**REGISTERED_JSON, "first_tokens": None}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": {"0": 3}}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [3]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": ["03"]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[0]]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[0, 1, 2]]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[0, 1.0]]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[True, 1]]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[-1, 1]]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[7, 1]]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[0, -1]]}, DamagedError, NO_PAIRS),
        ({**REGISTERED_JSON, "first_tokens": [[0, 1], [1, 1 << 53]]}, DamagedError, NO_PAIRS),
        (
            {**REGISTERED_JSON, "corpus": {"name": "texts", "version": "1"}},
            DamagedError,
            (
                "m/c.json: a section lacks a field, or has one too many ('fingerprint'); "
                "fetch the model again."
            ),
        ),
    ],
)
def test_what_is_no_config_is_refused(value: Any, kind: type[InputError], message: str) -> None:
    with pytest.raises(InputError) as caught:
        ModelAbout.from_json(value, "m/c.json")
    assert type(caught.value) is kind
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("section", "value", "reason"),
    [
        ("lineage", {"sources": 5}, "not iterable"),
        ("sampling", {"tokens": 5}, "precision"),
    ],
)
def test_a_section_of_other_fields_is_refused(section: str, value: Any, reason: str) -> None:
    message = rf"m/c\.json: a section lacks a field.*{reason}.*fetch the model again\."
    with pytest.raises(DamagedError, match=message):
        ModelAbout.from_json({**REGISTERED_JSON, section: value}, "m/c.json")


def test_the_largest_token_and_count_that_are_taken() -> None:
    largest = {**CHECKPOINT_JSON, "first_tokens": [[6, (1 << 53) - 1], [0, 0]]}
    about = ModelAbout.from_json(largest, "m")
    assert about.first_tokens == ((6, (1 << 53) - 1), (0, 0))
    # Pairs need not be lists: what was not read from a file has tuples.
    assert ModelAbout.from_json({**CHECKPOINT_JSON, "first_tokens": [(6, 1)]}, "m") == replace(
        CHECKPOINT, first_tokens=((6, 1),)
    )


def test_a_key_that_this_version_does_not_know_is_ignored() -> None:
    """A config by a version that says more must still be read: only what is needed is looked at."""
    lineage = Lineage.from_json({"sources": ["a"], "licence": "MIT", "coming": 1})
    assert lineage == Lineage(sources=("a",), licence="MIT")
    check = PrecisionCheck.from_json({"precision": "int8", "tokens": 9, "coming": 1})
    assert check == PrecisionCheck("int8", 9)
