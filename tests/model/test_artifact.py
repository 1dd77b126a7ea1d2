"""A model's three files: read by their digests, and loaded with numpy and with torch alike."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from pipeline import storage
from pipeline.corpora.vocab import Vocab
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference, ModelAbout
from pipeline.model.artifact import (
    ARTIFACT,
    CARD,
    CONFIG,
    FLOATS,
    VOCAB,
    WEIGHTS,
    artifact_files,
    check_artifact,
    json_bytes,
    load_network,
    load_weights,
    parse_about,
    parse_vocab,
    read_artifact,
    read_files,
)
from pipeline.model.config import ModelConfig
from pipeline.model.network import CharRNN, initialize

SYMBOLS = Vocab("byte", [10, 97, 98])
NETWORK = CharRNN(
    ModelConfig(vocab_size=3, cell="gru", num_layers=2, hidden_size=4, embedding_size=2)
)
initialize(NETWORK, 1)
ABOUT = ModelAbout(
    model=NETWORK.config,
    corpus=CorpusReference("texts", "0123", "0123ff"),
    first_tokens=((1, 5),),
    train={"seed": 1},
    step=7,
    metrics={"val_loss": 1.5},
)
FILES = artifact_files(NETWORK, SYMBOLS, ABOUT)
LOADERS = [load_weights, load_network]


def tensors(**changed: torch.Tensor | None) -> bytes:
    """The weights' file with some tensors, "." written "__", changed, added or (None) left out."""
    state: dict[str, Any] = dict(NETWORK.state_dict())
    state |= {name.replace("__", "."): value for name, value in changed.items()}
    return safetensors.torch.save({n: value for n, value in state.items() if value is not None})


def published(folder: Path, files: dict[str, bytes] = FILES) -> str:
    """A checkpoint's folder of these files; its URL."""
    url = str(folder / "run-1" / "checkpoint-00000007")
    for name, data in files.items():
        storage.write_bytes(storage.join(url, name), data)
    digests = {name: storage.sha256_bytes(data) for name, data in files.items()}
    storage.write_json(storage.join(url, "digests.json"), digests)
    return url


def test_the_names_of_the_files() -> None:
    assert ARTIFACT == ("weights.safetensors", "config.json", "vocab.json")
    assert (WEIGHTS, CONFIG, VOCAB) == ARTIFACT
    assert CARD == "MODEL_CARD.md"
    assert tuple(FILES) == ARTIFACT


def test_json_is_sorted_and_indented() -> None:
    assert json_bytes({"b": [1], "a": "é"}) == b'{\n  "a": "\\u00e9",\n  "b": [\n    1\n  ]\n}\n'
    assert FILES[CONFIG] == json_bytes(ABOUT.to_json())
    assert FILES[VOCAB] == json_bytes(SYMBOLS.to_json())


def test_both_loaders_give_back_what_was_written() -> None:
    loaded = load_weights(FILES, "m")
    network, vocab, about = load_network(FILES, "m")
    assert loaded.about == about == ABOUT
    assert loaded.vocab == vocab == SYMBOLS
    assert network.config == NETWORK.config
    assert not network.training
    state = network.state_dict()
    assert list(state) == list(NETWORK.state_dict())
    assert loaded.weights.keys() == state.keys()
    for name, value in NETWORK.state_dict().items():
        assert torch.equal(state[name], value)
        np.testing.assert_array_equal(loaded.weights[name], value.numpy())
    # And the network runs.
    tokens = torch.tensor([[0, 2], [1, 1]])
    with torch.no_grad():
        found, _ = network(tokens, network.initial_state(2))
        wanted, _ = NETWORK(tokens, NETWORK.initial_state(2))
    assert torch.equal(found, wanted)


def test_weights_that_do_not_lie_row_by_row_are_written_as_they_are_read() -> None:
    network = CharRNN(NETWORK.config)
    network.load_state_dict(NETWORK.state_dict())
    network.head.weight = torch.nn.Parameter(NETWORK.head.weight.detach().t().contiguous().t())
    assert not network.head.weight.is_contiguous()
    assert artifact_files(network, SYMBOLS, ABOUT) == FILES


@pytest.mark.parametrize("kind", FLOATS)
def test_floating_point_numbers_that_numpy_and_torch_have_are_taken(kind: str) -> None:
    dtype = getattr(torch, kind)
    state = {name: value.to(dtype) for name, value in NETWORK.state_dict().items()}
    files = {**FILES, WEIGHTS: safetensors.torch.save(state)}
    loaded = load_weights(files, "m")
    network, _, _ = load_network(files, "m")
    for name, value in network.state_dict().items():
        assert value.dtype == dtype
        np.testing.assert_array_equal(loaded.weights[name], value.numpy())


def four_bit_weights() -> bytes:
    """A safetensors file of a type that neither numpy nor torch reads."""
    header = json.dumps({"x": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0"


NO_FIT = "m: weights.safetensors does not fit config.json: "
NO_FLOATS = (
    "m: weights.safetensors holds other numbers than float16, float32, float64; "
    "fetch the model again."
)
BAD_FILES: dict[str, tuple[dict[str, bytes], str]] = {
    "a wrong shape": (
        {WEIGHTS: tensors(head__bias=torch.zeros(4))},
        NO_FIT + "head.bias is (4,), not (3,).",
    ),
    "the shape turned round": (
        {WEIGHTS: tensors(head__weight=torch.zeros(4, 3))},
        NO_FIT + "head.weight is (4, 3), not (3, 4).",
    ),
    "a missing tensor": (
        {WEIGHTS: tensors(layers__1__bias_hh_l0=None)},
        NO_FIT + "layers.1.bias_hh_l0 is missing.",
    ),
    "a tensor too many": (
        {WEIGHTS: tensors(layers__2__bias_hh_l0=torch.zeros(12))},
        NO_FIT + "the model has no layers.2.bias_hh_l0.",
    ),
    "more layers than tensors": (
        {CONFIG: json_bytes(replace(ABOUT, model=replace(ABOUT.model, num_layers=12)).to_json())},
        NO_FIT + "12 layers.",
    ),
    "as many layers as tensors": (
        {CONFIG: json_bytes(replace(ABOUT, model=replace(ABOUT.model, num_layers=11)).to_json())},
        NO_FIT + "layers.10.bias_hh_l0 is missing.",
    ),
    "layers beyond all memory": (
        {
            CONFIG: json_bytes(
                replace(ABOUT, model=replace(ABOUT.model, num_layers=1 << 60)).to_json()
            )
        },
        NO_FIT + "1152921504606846976 layers.",
    ),
    "another cell": (
        {CONFIG: json_bytes(replace(ABOUT, model=replace(ABOUT.model, cell="lstm")).to_json())},
        NO_FIT + "layers.0.bias_hh_l0 is (12,), not (16,).",
    ),
    "whole numbers": ({WEIGHTS: tensors(head__bias=torch.zeros(3, dtype=torch.int32))}, NO_FLOATS),
    "bfloat16": ({WEIGHTS: tensors(head__bias=torch.zeros(3, dtype=torch.bfloat16))}, NO_FLOATS),
    "complex numbers": (
        {WEIGHTS: tensors(head__bias=torch.zeros(3, dtype=torch.complex64))},
        NO_FLOATS,
    ),
    "a type of four bits": ({WEIGHTS: four_bit_weights()}, NO_FLOATS),
    "a vocabulary of another size": (
        {VOCAB: json_bytes(Vocab("byte", [10, 97]).to_json())},
        "m: weights for 3 symbols, vocabulary of 2.",
    ),
}
BAD_BYTES: dict[str, tuple[dict[str, bytes], type[InputError], str]] = {
    "a pickle": (
        {WEIGHTS: b"\x80\x04N."},
        DamagedError,
        r"^m/weights\.safetensors is not a safetensors file \(.+\); fetch the model again\.$",
    ),
    "half of the weights": (
        {WEIGHTS: FILES[WEIGHTS][:-1]},
        DamagedError,
        r"^m/weights\.safetensors is not a safetensors file \(.+\); fetch the model again\.$",
    ),
    "no weights": (
        {WEIGHTS: b""},
        DamagedError,
        r"^m/weights\.safetensors is not a safetensors file \(.+\); fetch the model again\.$",
    ),
    "a config that is not JSON": (
        {CONFIG: b"{"},
        DamagedError,
        r"^m: config\.json is not JSON \(.+\); fetch the model again\.$",
    ),
    "a vocabulary that is not JSON": (
        {VOCAB: b"\xff"},
        DamagedError,
        r"^m: vocab\.json is not JSON \(.+\); fetch the model again\.$",
    ),
    "a config that is too deep": (
        {CONFIG: b"[" * 100_000},
        DamagedError,
        r"^m: config\.json is not JSON \(.+\); fetch the model again\.$",
    ),
    "text that is no Unicode": (
        {CONFIG: FILES[CONFIG].replace(b'"texts"', b'"\\ud800"')},
        DamagedError,
        r"^m: config\.json is not JSON \(.+\); fetch the model again\.$",
    ),
    "a config of another format": (
        {CONFIG: FILES[CONFIG].replace(b'"format": 1', b'"format": 3')},
        InputError,
        r"^m: config\.json is not of a format 1 model; use the program's version that wrote it\.$",
    ),
    "a vocabulary of another format": (
        {VOCAB: FILES[VOCAB].replace(b'"format": 1', b'"format": 3')},
        InputError,
        r"not a format 1 vocabulary",
    ),
    "a config of another model": (
        {CONFIG: FILES[CONFIG].replace(b'"gru"', b'"elman"')},
        DamagedError,
        r"^m: config\.json does not describe a model \(cell 'elman' is none of ",
    ),
}


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_do_not_fit_each_other_are_refused(load: Any, name: str) -> None:
    changed, message = BAD_FILES[name]
    with pytest.raises(DamagedError) as caught:
        load({**FILES, **changed}, "m")
    assert str(caught.value) == message


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("name", BAD_BYTES)
def test_files_that_cannot_be_read_are_refused(load: Any, name: str) -> None:
    changed, kind, message = BAD_BYTES[name]
    with pytest.raises(InputError, match=message) as caught:
        load({**FILES, **changed}, "m")
    assert type(caught.value) is kind


def test_config_and_vocabulary_are_parsed_without_the_weights() -> None:
    files = {**FILES, WEIGHTS: b"not looked at"}
    assert parse_about(files, "m") == ABOUT
    assert parse_vocab(files, "m") == SYMBOLS
    with pytest.raises(DamagedError, match=r"^x: config\.json is not JSON"):
        parse_about({CONFIG: b""}, "x")
    with pytest.raises(DamagedError, match=r"^x: vocab\.json is not JSON"):
        parse_vocab({VOCAB: b""}, "x")


def test_an_artifact_says_what_identifies_it() -> None:
    artifact = check_artifact("name", "3", "models:/name/3", FILES)
    assert (artifact.name, artifact.version, artifact.uri) == ("name", "3", "models:/name/3")
    assert artifact.files is FILES
    assert artifact.about == ABOUT
    assert artifact.digests == {name: storage.sha256_bytes(FILES[name]) for name in ARTIFACT}
    with pytest.raises(DamagedError, match=r"^models:/name/3: config\.json is not JSON"):
        check_artifact("name", "3", "models:/name/3", {**FILES, CONFIG: b"}"})


@pytest.mark.parametrize("end", ["", "/"])
def test_a_checkpoints_folder_is_read_as_an_artifact(tmp_path: Path, end: str) -> None:
    url = published(tmp_path, {**FILES, "optimizer.safetensors": b"1"}) + end
    artifact = read_artifact(url)
    assert (artifact.name, artifact.version) == ("run-1", "checkpoint-00000007")
    assert artifact.uri == url
    assert artifact.files == FILES
    assert artifact.about == ABOUT


def test_a_folder_without_digests_is_no_checkpoint(tmp_path: Path) -> None:
    url = published(tmp_path)
    storage.remove(storage.join(url, "digests.json"))
    with pytest.raises(InputError) as caught:
        read_artifact(url)
    assert str(caught.value) == (
        f"no complete checkpoint at {url}; give a folder that has digests.json."
    )


def test_files_are_read_by_their_digests(tmp_path: Path) -> None:
    url = published(tmp_path)
    assert read_files(url, ARTIFACT) == FILES
    assert read_files(url, (CONFIG,)) == {CONFIG: FILES[CONFIG]}
    # Digests that come from elsewhere count instead of the folder's.
    storage.remove(storage.join(url, "digests.json"))
    right = {VOCAB: storage.sha256_bytes(FILES[VOCAB])}
    assert read_files(url, (VOCAB,), right) == {VOCAB: FILES[VOCAB]}
    with pytest.raises(DamagedError):
        read_files(url, (VOCAB,), {})


@pytest.mark.parametrize("name", ARTIFACT)
def test_a_file_that_is_not_what_was_published_is_refused(tmp_path: Path, name: str) -> None:
    url = published(tmp_path)
    place = storage.join(url, name)
    storage.write_bytes(place, FILES[name] + b" ")
    with pytest.raises(DamagedError) as caught:
        read_artifact(url)
    assert str(caught.value) == (
        f"{place} does not have the digest it was published with; fetch it again."
    )
    storage.remove(place)
    with pytest.raises(DamagedError) as caught:
        read_artifact(url)
    assert str(caught.value) == f"{url} has no {name}; fetch or train the model again."


def test_a_file_without_a_digest_is_refused(tmp_path: Path) -> None:
    url = published(tmp_path)
    storage.write_bytes(storage.join(url, CARD), b"card")
    with pytest.raises(DamagedError, match="does not have the digest"):
        read_files(url, (CARD,))


def test_digests_that_are_no_table_are_refused(tmp_path: Path) -> None:
    url = published(tmp_path)
    place = storage.join(url, "digests.json")
    storage.write_json(place, ["weights.safetensors"])
    with pytest.raises(DamagedError) as caught:
        read_files(url, ARTIFACT)
    assert str(caught.value) == (
        f"{place} is not a table of digests; fetch or train the model again."
    )
    storage.write_bytes(place, b"{")
    with pytest.raises(DamagedError, match=r"digests\.json is not JSON"):
        read_files(url, ARTIFACT)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e200])
def test_weights_that_are_not_finite_are_refused_by_name(load: Any, wrong: float) -> None:
    bias = torch.zeros(3, dtype=torch.float64)
    bias[1] = wrong  # 1e200 is finite in float64, and not in the float32 that it is computed in
    files = {**FILES, WEIGHTS: tensors(head__bias=bias)}
    with pytest.raises(InputError, match=r"^x: 1 of the 3 numbers of head\.bias are not finite, "):
        load(files, "x")
