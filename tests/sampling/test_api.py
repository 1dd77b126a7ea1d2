"""Sampling from Python: the texts that a job writes, whole or a piece at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import runs, sampler
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import ModelArtifact
from pipeline.sampler import Model, load_model, sample, stream
from tests.sampling.conftest import here


@pytest.fixture
def folder(tmp_path: Path, model: ModelArtifact) -> str:
    """The model as a checkpoint's folder, which needs no registry."""
    url = str(tmp_path / "run" / "checkpoint-00000001")
    runs.write_checkpoint(url, model.files)
    return url


@pytest.fixture
def loaded(folder: str) -> Model:
    return load_model(folder)


def texts_of(folder: Path) -> list[str]:
    """A job's texts in order. A model that has learned nothing writes what is no UTF-8."""
    files = sorted(folder.glob("*.txt"))
    return [file.read_bytes().decode("utf-8", "replace") for file in files]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_chars": 700, "temperature": 0.7, "seed": 3},
        {"num_chars": 300, "top_k": 5, "top_p": 0.9, "temperature": 0},
        {"num_chars": 400, "stop": "e"},
        {"num_chars": 20, "lines": 5},
        {"num_chars": 50, "prime": "de\x00f ", "unknown": "skip"},
    ],
)
def test_python_gives_the_texts_that_a_job_writes(
    tmp_path: Path, model: ModelArtifact, loaded: Model, settings: dict[str, Any]
) -> None:
    settings = {"prime": "def ", **settings}
    job = settings | {"temperature": str(settings.get("temperature", 1.0))}
    here(tmp_path / "job", model, num_files=3, **job)
    ours = [sample(loaded, number=number, **settings) for number in range(3)]
    assert ours == texts_of(tmp_path / "job")
    assert sample(loaded, **settings) == ours[0]
    assert "".join(stream(loaded, number=2, **settings)) == ours[2]


def test_a_text_has_a_thousand_characters_unless_told(
    tmp_path: Path, model: ModelArtifact, loaded: Model
) -> None:
    here(tmp_path / "job", model, num_files=1, num_chars=1000)
    assert [sample(loaded)] == texts_of(tmp_path / "job")


def test_a_stream_comes_in_pieces(loaded: Model) -> None:
    pieces = list(stream(loaded, "def ", num_chars=2000))
    assert len(pieces) > 5
    assert all(pieces)
    assert pieces[0].startswith("def ")


def test_a_character_of_several_bytes_is_not_cut_between_two_pieces(
    loaded: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.engine.request import Piece

    pieces = [b"caf\xc3", b"", b"\xa9 \xff", b"\xe2\x98"]

    def written(requests: Any, stop: bytes) -> Any:
        for at, text in enumerate(pieces):
            yield Piece(0, text, at, 0.0, at == len(pieces) - 1)

    monkeypatch.setattr(loaded.engine, "stream", written)
    assert list(stream(loaded)) == ["caf", "\u00e9 \ufffd", "\ufffd"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, r"temperature is -1\.0"),
        ({"num_chars": 0}, "num_chars is 0"),
        ({"prime": "\x00"}, "outside the vocabulary"),
        ({"lines": 2, "stop": "x"}, "stop has no meaning"),
        ({"stop": "\x00"}, "outside the vocabulary"),
    ],
)
def test_what_a_job_refuses_is_refused(
    loaded: Model, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sample(loaded, **settings)


LONG = "x" * 1000
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"num_chars": "ten"}, "num_chars is 'ten'; it must be a whole number"),
    ({"num_chars": None}, "num_chars is None; it must be a whole number"),
    ({"num_chars": 10.0}, r"num_chars is 10\.0; it must be a whole number"),
    ({"num_chars": True}, "num_chars is True; it must be a whole number"),
    ({"num_chars": 2**63}, r"num_chars is 9223372036854775808; it must be below 2\*\*63"),
    ({"temperature": [1]}, r"temperature is \[1\]; it must be a number"),
    ({"temperature": "0.5"}, r"temperature is '0\.5'; it must be a number"),
    ({"temperature": None}, "temperature is None; it must be a number"),
    ({"temperature": False}, "temperature is False; it must be a number"),
    ({"temperature": float("nan")}, "temperature is nan; it must be a finite number"),
    ({"temperature": 10**400}, "temperature is 10000.*0...; it must be a finite number"),
    ({"temperature": 1j}, "temperature is 1j; it must be a number"),
    ({"top_k": "5"}, "top_k is '5'; it must be a whole number"),
    ({"top_k": -1}, "top_k is -1; it must be at least 0"),
    ({"top_p": "all"}, "top_p is 'all'; it must be a number"),
    ({"top_p": float("nan")}, "top_p is nan; it must be above 0"),
    ({"lines": None}, "lines is None; it must be a whole number"),
    ({"seed": 2**70}, "seed is 1180591620717411303424; it must be at least 0 and below"),
    ({"seed": 10**5000}, "seed is a int; it must be at least 0 and below"),
    ({"seed": None}, "seed is None; it must be a whole number"),
    ({"seed": LONG}, "seed is 'x{59}...; it must be a whole number"),
    ({"number": -1}, "number is -1; it must be at least 0"),
    ({"number": "first"}, "number is 'first'; it must be a whole number"),
    ({"prime": b"def "}, "prime is b'def '; it must be text"),
    ({"prime": None}, "prime is None; it must be text"),
    ({"prime": "a\ud800"}, r"prime is 'a\\ud800', which has half a surrogate pair at 1"),
    ({"stop": 1}, "stop is 1; it must be text"),
    ({"stop": "\udcff"}, "stop is .*half a surrogate pair at 0"),
    ({"unknown": "ignore"}, "unknown is 'ignore'; it must be one of refuse, skip"),
    ({"unknown": None}, "unknown is None; it must be one of"),
    ({"prime": "a\nb", "lines": 2}, "a prime with a line feed cannot begin a line"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=range(len(WRONG)))
def test_every_wrong_argument_is_one_line_by_its_name(
    loaded: Model, settings: dict[str, Any], message: str
) -> None:
    for function in (sample, stream):  # a stream refuses at once, before anybody reads it
        with pytest.raises(InputError, match=message) as caught:
            function(loaded, **settings)
        assert "\n" not in str(caught.value)


def test_numpys_numbers_are_numbers(loaded: Model) -> None:
    given = {"num_chars": np.int32(50), "seed": np.uint64(7), "temperature": np.float64(0.5)}
    assert sample(loaded, **given) == sample(loaded, num_chars=50, seed=7, temperature=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((7,), "uri is 7; it must be text"),
        ((None,), "uri is None; it must be text"),
        (("",), "model is empty"),
        (("m", 7), "root is 7; it must be text"),
        (("m", None, "fp16"), "precision is 'fp16'; it must be one of auto, fp32, int8"),
        (("m", None, None), "precision is None; it must be one of"),
    ],
)
def test_load_model_refuses_by_name(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(*arguments)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InputError, match="model is 'texts'; it must be what load_model returns"):
        sample("texts")  # type: ignore[arg-type]


def test_a_setting_that_there_is_not_is_an_error(loaded: Model) -> None:
    with pytest.raises(TypeError, match="warmth"):
        sample(loaded, warmth=1)


@pytest.mark.parametrize(
    ("asked", "precision"), [("auto", "int8"), ("int8", "int8"), ("fp32", "fp32")]
)
def test_the_precision_is_the_measured_one_unless_told(
    folder: str, asked: str, precision: str
) -> None:
    loaded = load_model(folder, precision=asked)
    assert loaded.precision == precision
    texts = [sample(load_model(folder, precision=each), num_chars=300) for each in ("int8", "fp32")]
    assert sample(loaded, num_chars=300) == texts[precision == "fp32"]


def test_a_model_is_looked_for_under_the_root(
    tmp_path: Path, model: ModelArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str]] = []

    def fetched(uri: str, root: str) -> ModelArtifact:
        seen.append((uri, root))
        return model

    monkeypatch.setattr("pipeline.sampling.api.fetch_model", fetched)
    monkeypatch.setenv("UNREASONABLE_ROOT", str(tmp_path / "default"))
    monkeypatch.chdir(tmp_path)
    assert load_model("models:/m/1", "here").artifact is model
    load_model("models:/m/1")
    assert seen == [
        ("models:/m/1", str(tmp_path / "here")),
        ("models:/m/1", str(tmp_path / "default")),
    ]


def test_what_does_not_exist_or_is_damaged_is_refused(folder: str) -> None:
    with pytest.raises(InputError, match="no complete checkpoint at /nowhere"):
        load_model("/nowhere")
    Path(folder, "config.json").write_bytes(b"{}")
    with pytest.raises(DamagedError, match=r"config\.json does not have the digest"):
        load_model(folder)


def test_the_public_door_has_these_names() -> None:
    assert sampler.__all__ == ["Model", "load_model", "sample", "stream"]
