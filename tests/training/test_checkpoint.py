"""What a checkpoint holds beyond the model: state, optimiser and lanes, there and back."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pipeline import runs
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference
from pipeline.training.checkpoint import (
    Best,
    CheckpointState,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    training_files,
)
from pipeline.training.journal import JournalState

GOLDEN = Path(__file__).parent.parent / "golden" / "checkpoint" / "run"
STATE = CheckpointState(
    step=7,
    epoch=1,
    minutes=2.5,
    val_loss=None,
    best=Best(5, 1.25),
    stale=3,
    journal=JournalState(100, "ab"),
    corpus=CorpusReference("texts", "0123", "0123456"),
    config={"seed": 1},
    world_size=2,
)
JSON: dict[str, Any] = {
    "format": 2,
    "step": 7,
    "epoch": 1,
    "minutes": 2.5,
    "val_loss": None,
    "best": {"step": 5, "val_loss": 1.25},
    "stale": 3,
    "journal": {"bytes": 100, "sha256": "ab"},
    "corpus": {"name": "texts", "version": "0123", "fingerprint": "0123456"},
    "config": {"seed": 1},
    "world_size": 2,
}


def write(folder: Path, value: Any) -> str:
    runs.write_checkpoint(str(folder), {"state.json": json.dumps(value).encode()})
    return str(folder)


def test_before_the_first_evaluation_nothing_is_best() -> None:
    assert Best() == Best(None, None)


def test_a_state_is_json_and_comes_back(tmp_path: Path) -> None:
    assert STATE.to_json() == JSON
    assert CheckpointState.read(write(tmp_path, JSON)) == STATE


@pytest.mark.parametrize("step", [3, 4])
def test_a_state_that_older_code_wrote_is_read_and_written_again(step: int) -> None:
    url = GOLDEN / f"checkpoint-{step:08d}"
    state = CheckpointState.read(str(url))
    assert state.step == step
    files = training_files({}, torch.zeros(1), state)
    assert files["state.json"] == (url / "state.json").read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 1}, "not a format 2 checkpoint"),
        ({"format": 3}, "not a format 2 checkpoint"),
        ({"format": "2"}, "not a format 2 checkpoint"),
    ],
)
def test_another_format_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named) as caught:
        CheckpointState.read(write(tmp_path, JSON | changes))
    assert str(tmp_path) in str(caught.value)
    assert not isinstance(caught.value, DamagedError)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"best": {"loss": 1}}, "loss"),
        ({"best": None}, "NoneType"),
        ({"journal": {"bytes": 1}}, "sha256"),
        ({"corpus": {"name": "texts"}}, "'version'"),
        ({"corpus": 5}, "int"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_state_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(DamagedError, match=named) as caught:
        CheckpointState.read(write(tmp_path, JSON | changes))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/state.json is no checkpoint's state (")
    assert text.endswith("); restore it.")


@pytest.mark.parametrize("key", ["step", "best", "journal", "corpus", "world_size"])
def test_a_state_that_lacks_something_is_refused_by_name(tmp_path: Path, key: str) -> None:
    value = {name: item for name, item in JSON.items() if name != key}
    with pytest.raises(DamagedError, match=key):
        CheckpointState.read(write(tmp_path, value))


def test_the_files_hold_what_was_given() -> None:
    lanes = torch.arange(24.0).view(2, 1, 4, 3)
    part = lanes[:, :, 1:3].requires_grad_()  # neither contiguous nor free of a graph
    optimizer = {"head.bias/exp_avg": torch.tensor([1.0, 2.0])}
    files = training_files(optimizer, part, dataclasses.replace(STATE, val_loss=0.5))
    assert set(files) == {"optimizer.safetensors", "lanes.safetensors", "state.json"}
    stored = safetensors.torch.load(files["lanes.safetensors"])
    assert set(stored) == {"state"}
    assert torch.equal(stored["state"], lanes[:, :, 1:3])
    back = load_tensors(files["optimizer.safetensors"], "here")
    assert {name: value.tolist() for name, value in back.items()} == {
        "head.bias/exp_avg": [1.0, 2.0]
    }
    text = files["state.json"].decode()
    assert text == json.dumps(JSON | {"val_loss": 0.5}, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize("data", [b"", pickle.dumps({"a": [1]}), b"\x08" + bytes(7) + b"{}"])
def test_what_is_no_safetensors_file_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(DamagedError) as caught:
        load_tensors(data, "run/checkpoint-1")
    assert str(caught.value).startswith("run/checkpoint-1 is not a safetensors file (")
    assert str(caught.value).endswith("); fetch the model again.")


def made(kind: type[torch.optim.Optimizer], steps: int) -> tuple[Any, torch.optim.Optimizer]:
    """A model and its optimiser after some steps on one batch."""
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1)
    for _ in range(steps):
        advance(model, optimizer)
    return model, optimizer


def advance(model: Any, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.tensor([1.0, -2.0, 3.0])).pow(2).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.AdamW])
def test_an_optimisers_state_comes_back(kind: type[torch.optim.Optimizer]) -> None:
    names = ["layers.0.weight", "bias"]
    model, optimizer = made(kind, 3)
    stored = optimizer_tensors(optimizer, names)
    assert {name.rpartition("/")[0] for name in stored} == set(names)
    assert stored["bias/step"].item() == 3
    again, fresh = made(kind, 0)
    fresh.param_groups[0]["lr"] = 0.05
    again.load_state_dict(model.state_dict())
    load_optimizer(fresh, names, load_tensors(safetensors.torch.save(stored), "here"))
    assert fresh.param_groups[0]["lr"] == 0.05  # its own
    fresh.param_groups[0]["lr"] = 0.1
    for _ in range(2):
        advance(model, optimizer)
        advance(again, fresh)
    assert torch.equal(model.weight, again.weight)
    assert torch.equal(model.bias, again.bias)


def test_an_optimisers_state_is_named_by_parameter_and_holds_tensors_alone() -> None:
    model, optimizer = made(torch.optim.RMSprop, 1)
    optimizer.state[model.bias]["note"] = "no tensor"
    optimizer.state[model.weight]["square_avg"] = torch.ones(3, 2).t().requires_grad_()
    stored = optimizer_tensors(optimizer, ["a", "b"])
    assert set(stored) == {"a/step", "a/square_avg", "b/step", "b/square_avg"}
    assert stored["a/square_avg"].is_contiguous()
    assert not stored["a/square_avg"].requires_grad
