"""The loop in one process: it learns, resumes exactly, and equals a plain re-implementation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from pipeline.errors import DamagedError, InputError
from pipeline.training import checkpoint, loop
from pipeline.training.artifact import ARTIFACT
from pipeline.training.loop import Trainer
from tests.training.conftest import Kept

Make = Callable[..., Trainer]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def stable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("time", "chars_per_sec")} for row in rows]


def test_the_loss_falls(make_trainer: Make, kept: Kept) -> None:
    loop.train(make_trainer(max_steps=150, eval_every=75), kept)
    assert kept.rows[-1]["train_loss"] < 0.75 * kept.rows[0]["train_loss"]
    assert kept.rows[149]["val_loss"] < kept.rows[74]["val_loss"]


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_stopped_and_resumed_equals_uninterrupted(make_trainer: Make, tmp_path: Path, optimizer: str, cell: str) -> None:
    settings = {
        "optimizer": optimizer,
        "cell": cell,
        "dropout": 0.2,
        "schedule": "cosine",
        "warmup_steps": 5,
        "global_batch_size": 60,
    }
    whole, whole_kept = make_trainer(**settings, max_steps=30), Kept()
    loop.train(whole, whole_kept)
    assert whole.plan.steps_per_epoch < 30 or whole.epoch == 0
    resumed_kept = Kept()
    for url, step in ((None, 10), (str(tmp_path / "10"), 20), (str(tmp_path / "20"), 30)):
        part = make_trainer(**settings, max_steps=30)
        if url:
            part.load(url)
        while part.step < step:
            row, _ = part.train_step()
            metrics = part.evaluate() if part.step % 10 == 0 else {}
            part.journal.append({**row, **metrics})
        files = part.files(evaluated=True)
        assert files is not None
        checkpoint.write(str(tmp_path / str(step)), files)
        resumed_kept.files[step] = files
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(part)[name]), name
    rows = [json.loads(line) for line in resumed_kept.files[30]["metrics.jsonl"].splitlines()]
    assert stable(rows) == stable(whole_kept.rows)
    assert resumed_kept.files[30]["weights.safetensors"] == whole_kept.files[30]["weights.safetensors"]
    assert resumed_kept.files[30]["optimizer.safetensors"] == whole_kept.files[30]["optimizer.safetensors"]


def test_training_is_what_a_plain_loop_does(make_trainer: Make) -> None:
    """An independent re-implementation in float64: nn.LSTM with two layers, mean loss, clipping, Adam."""
    trainer = make_trainer(torch.float64, max_grad_norm=0.5)
    plain = torch.nn.LSTM(len(trainer.corpus.vocab), 16, 2).double()
    head = torch.nn.Linear(16, len(trainer.corpus.vocab)).double()
    for name, value in trainer.model.state_dict().items():
        parts = name.split(".")
        target = getattr(head, parts[1]) if parts[0] == "head" else getattr(plain, parts[2].replace("l0", f"l{parts[1]}"))
        target.data.copy_(value)
    parameters = [*plain.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    text = torch.from_numpy(trainer.tokens.read(0, len(trainer.tokens)).astype("int64"))
    length = (len(text) - 1) // (6 * 20) * 20
    state = None
    for step in range(20):
        rows = torch.stack([text[lane * length + step * 20 :][:21] for lane in range(6)], 1)
        outputs, state = plain(functional.one_hot(rows[:-1], len(trainer.corpus.vocab)).double(), state)
        state = tuple(part.detach() for part in state)
        loss = functional.cross_entropy(head(outputs).flatten(0, 1), rows[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]).norm()
        for parameter in parameters:
            parameter.grad = parameter.grad * min(1.0, 0.5 / norm.item()) if parameter.grad is not None else None
        optimizer.step()
        row, _ = trainer.train_step()
        assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-9)
    torch.testing.assert_close(trainer.model.head.weight, head.weight, rtol=1e-8, atol=1e-10)


def test_evaluation_is_the_mean_over_the_split(make_trainer: Make) -> None:
    trainer = make_trainer(torch.float64, eval_lanes=1)
    text = torch.from_numpy(trainer.val.read(0, len(trainer.val)).astype("int64")).unsqueeze(1)
    logits, _ = trainer.model(text[:-1], trainer.model.initial_state(1))
    assert trainer.evaluate()["val_loss"] == pytest.approx(
        functional.cross_entropy(logits[:, 0], text[1:, 0]).item(), rel=1e-10
    )


def test_a_checkpoint_holds_no_pickle_and_is_complete_only_with_digests(make_trainer: Make, tmp_path: Path, kept: Kept) -> None:
    loop.train(make_trainer(), kept)
    url = str(tmp_path / checkpoint.name(20))
    checkpoint.write(url, kept.files[20])
    assert checkpoint.complete(str(tmp_path)) == [checkpoint.name(20)]
    model, vocab, config = checkpoint.load_model(checkpoint.read(url, ARTIFACT), url)
    assert config["metrics"]["val_loss"] == kept.rows[-1]["val_loss"]
    assert len(vocab) == model.config.vocab_size
    for path in Path(url).iterdir():
        assert b"torch" not in path.read_bytes()[:64]
        assert path.suffix in (".json", ".safetensors", ".jsonl")
    (Path(url) / "digests.json").unlink()
    assert checkpoint.complete(str(tmp_path)) == []


def test_a_tampered_or_foreign_checkpoint_is_refused_by_name(make_trainer: Make, tmp_path: Path, kept: Kept) -> None:
    loop.train(make_trainer(), kept)
    url = tmp_path / "c"
    checkpoint.write(str(url), kept.files[20])
    good = (url / "weights.safetensors").read_bytes()
    (url / "weights.safetensors").write_bytes(good[:-1] + b"\x01")
    with pytest.raises(DamagedError, match=r"weights\.safetensors does not have the digest"):
        make_trainer().load(str(url))
    with pytest.raises(DamagedError, match="not a safetensors file"):
        checkpoint.load_model({**kept.files[20], "weights.safetensors": b"\x80\x04pickle"}, "m")
    checkpoint.write(str(url), kept.files[20])
    with pytest.raises(InputError, match="--hidden_size 16"):
        make_trainer(hidden_size=17).load(str(url))
    make_trainer(max_steps=90).load(str(url))


def test_a_cosine_run_keeps_its_end(make_trainer: Make, tmp_path: Path, kept: Kept) -> None:
    loop.train(make_trainer(schedule="cosine"), kept)
    checkpoint.write(str(tmp_path), kept.files[20])
    with pytest.raises(InputError, match="--max_steps 20"):
        make_trainer(schedule="cosine", max_steps=90).load(str(tmp_path))


def test_a_stop_is_seen_and_leaves_a_checkpoint(make_trainer: Make, kept: Kept) -> None:
    result = loop.train(make_trainer(max_steps=1000), kept, stop=lambda: len(kept.rows) >= 4)
    assert result["step"] == 5
    assert list(kept.files) == [5]
