"""The loop in one process: it learns, resumes exactly, and equals a plain re-implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from pipeline.corpora.manifest import Corpus
from pipeline.errors import DamagedError, DivergedError, InputError
from pipeline.training import checkpoint, loop
from pipeline.model.artifact import ARTIFACT
from pipeline.training.journal import rows
from pipeline.training.trainer import Trainer, Votes
from tests.training.conftest import Kept

Make = Callable[..., Trainer]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def stable(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("time", "chars_per_sec")}
        for row in found
    ]


def test_the_loss_falls(make_trainer: Make, kept: Kept) -> None:
    loop.train(make_trainer(max_steps=150, eval_every=75), kept)
    assert kept.rows[-1]["train_loss"] < 0.75 * kept.rows[0]["train_loss"]
    assert kept.rows[149]["val_loss"] < kept.rows[74]["val_loss"]


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_stopped_and_resumed_equals_uninterrupted(
    make_trainer: Make, small_corpus: Corpus, tmp_path: Path, optimizer: str, cell: str
) -> None:
    settings = {
        "optimizer": optimizer, "cell": cell, "dropout": 0.2, "schedule": "decay", "decay_after": 1, "accumulate": 2,
        "global_batch_size": 30, "seq_len": 25, "max_steps": 50, "eval_every": 20, "checkpoint_every": 20, "patience": 9,
        "over": small_corpus,
    }  # fmt: skip
    whole, kept = make_trainer(**settings), Kept()
    loop.train(whole, kept)
    assert (
        2 * whole.plan.steps_per_epoch < 50
    )  # three epochs: state is reset, offsets move, the rate decays
    assert len({row["learning_rate"] for row in kept.rows}) > 1
    url = ""
    for stop_at in (7, 20, 21, 49, 0):
        part, some = make_trainer(**settings), Kept()
        if url:
            part.load(url)
            some.stop_at = stop_at and stop_at - part.step
        else:
            some.stop_at = stop_at
        result = loop.train(part, some)
        assert result["stopped"] is bool(stop_at)
        assert part.step == (stop_at or 50)
        url = some.write(str(tmp_path), part.step)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(part)[name]), name
    assert [row["step"] for row in rows(some.journals[50])] == list(range(1, 51))
    assert stable(rows(some.journals[50])) == stable(kept.rows)
    for name in ("weights.safetensors", "optimizer.safetensors", "lanes.safetensors"):
        assert some.files[50][name] == kept.files[50][name], name


def test_training_is_what_a_plain_loop_does(make_trainer: Make) -> None:
    """An independent re-implementation in float64: nn.LSTM with two layers, mean loss, clipping, Adam."""
    trainer = make_trainer(torch.float64, max_grad_norm=0.5)
    plain = torch.nn.LSTM(len(trainer.corpus.vocab), 16, 2).double()
    head = torch.nn.Linear(16, len(trainer.corpus.vocab)).double()
    for name, value in trainer.model.state_dict().items():
        parts = name.split(".")
        target = (
            getattr(head, parts[1])
            if parts[0] == "head"
            else getattr(plain, parts[2].replace("l0", f"l{parts[1]}"))
        )
        target.data.copy_(value)
    parameters = [*plain.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    text = torch.from_numpy(trainer.tokens.read(0, len(trainer.tokens)).astype("int64"))
    length = (len(text) - 1) // (6 * 20) * 20
    state = None
    for step in range(20):
        rows = torch.stack([text[lane * length + step * 20 :][:21] for lane in range(6)], 1)
        outputs, state = plain(
            functional.one_hot(rows[:-1], len(trainer.corpus.vocab)).double(), state
        )
        state = tuple(part.detach() for part in state)
        loss = functional.cross_entropy(head(outputs).flatten(0, 1), rows[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat(
            [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
        ).norm()
        for parameter in parameters:
            parameter.grad = (
                parameter.grad * min(1.0, 0.5 / norm.item()) if parameter.grad is not None else None
            )
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


def test_a_checkpoint_holds_no_pickle_and_is_complete_only_with_digests(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    loop.train(make_trainer(), kept)
    url = str(tmp_path / checkpoint.name(20))
    assert kept.write(str(tmp_path), 20) == url
    assert checkpoint.complete(str(tmp_path)) == [checkpoint.name(20)]
    model, vocab, config = checkpoint.load_model(checkpoint.read(url, ARTIFACT), url)
    assert config["metrics"]["val_loss"] == kept.rows[-1]["val_loss"]
    assert len(vocab) == model.config.vocab_size
    for path in Path(url).iterdir():
        assert b"torch" not in path.read_bytes()[:64]
        assert path.suffix in (".json", ".safetensors", ".jsonl")
    (Path(url) / "digests.json").unlink()
    assert checkpoint.complete(str(tmp_path)) == []


def test_a_tampered_or_foreign_checkpoint_is_refused_by_name(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    loop.train(make_trainer(), kept)
    url = Path(kept.write(str(tmp_path), 20))
    good = (url / "weights.safetensors").read_bytes()
    (url / "weights.safetensors").write_bytes(good[:-1] + b"\x01")
    with pytest.raises(DamagedError, match=r"weights\.safetensors does not have the digest"):
        make_trainer().load(str(url))
    with pytest.raises(DamagedError, match="not a safetensors file"):
        checkpoint.load_model({**kept.files[20], "weights.safetensors": b"\x80\x04pickle"}, "m")
    kept.write(str(tmp_path), 20)
    with pytest.raises(InputError, match="--hidden_size 16"):
        make_trainer(hidden_size=17).load(str(url))
    make_trainer(max_steps=90).load(str(url))
    (tmp_path / "metrics.jsonl").write_bytes(b"{}\n" + kept.journals[20])
    with pytest.raises(DamagedError, match=r"metrics\.jsonl"):
        make_trainer().load(str(url))


def test_a_cosine_run_keeps_its_end(make_trainer: Make, tmp_path: Path, kept: Kept) -> None:
    loop.train(make_trainer(schedule="cosine"), kept)
    url = kept.write(str(tmp_path), 20)
    with pytest.raises(InputError, match="--max_steps 20"):
        make_trainer(schedule="cosine", max_steps=90).load(url)


def test_a_stop_is_seen_and_leaves_a_checkpoint(make_trainer: Make) -> None:
    kept = Kept(stop_at=5)
    result = loop.train(make_trainer(max_steps=1000), kept)
    assert (result["step"], result["stopped"], list(kept.files)) == (5, True, [5])


def test_a_stop_at_the_last_step_is_the_end(make_trainer: Make) -> None:
    assert not loop.train(make_trainer(max_steps=5), Kept(stop_at=5))["stopped"]


def test_checkpoints_come_when_they_are_due(make_trainer: Make, kept: Kept) -> None:
    # Learning goes backwards after the first evaluation, so that later ones are no new best.
    loop.train(
        make_trainer(
            learning_rate=3.0,
            max_grad_norm=0.0,
            optimizer="adamw",
            eval_every=2,
            checkpoint_every=7,
        ),
        kept,
    )
    best = min((row for row in kept.rows if "val_loss" in row), key=lambda row: row["val_loss"])[
        "step"
    ]
    assert set(kept.files) >= {7, 14, 20, best}
    evaluated = {row["step"] for row in kept.rows if "val_loss" in row}
    assert evaluated == set(range(2, 21, 2))
    assert set(kept.files) - {7, 14, 20} < evaluated


def test_minutes_count_too(make_trainer: Make, kept: Kept) -> None:
    loop.train(make_trainer(eval_every="0.00001m", checkpoint_every="0.00001m", max_steps=9), kept)
    assert len([row for row in kept.rows if "val_loss" in row]) > 2
    assert len(kept.files) > 2
    late = Kept()
    result = loop.train(make_trainer(max_minutes=1e-9, max_steps=0, max_epochs=0), late)
    assert (len(late.rows), result["stopped"]) == (
        2,
        False,
    )  # the first step tells that time is over, the second ends it


def test_patience_ends_a_run_that_no_longer_improves(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    settings = {
        "learning_rate": 3.0,
        "max_grad_norm": 0.0,
        "eval_every": 1,
        "patience": 3,
        "max_steps": 300,
    }
    trainer = make_trainer(**settings)
    loop.train(trainer, kept)
    losses = [row["val_loss"] for row in kept.rows]
    assert trainer.step < 300
    assert min(losses) == losses[-4]
    again = make_trainer(**settings)
    again.load(kept.write(str(tmp_path), trainer.step))
    assert loop.train(again, Kept())["step"] == trainer.step  # it is over, and stays over


def test_samples_are_taken_at_their_steps(make_trainer: Make, kept: Kept) -> None:
    loop.train(make_trainer(sample_every="3,5,20"), kept)
    assert kept.sampled == [3, 5, 20]
    every = Kept()
    loop.train(make_trainer(sample_every=8), every)
    assert every.sampled == [8, 16]


def test_a_diverging_run_says_so(make_trainer: Make) -> None:
    trainer = make_trainer(
        learning_rate=1e37, optimizer="rmsprop", max_grad_norm=0.0, max_steps=200
    )
    with pytest.raises(DivergedError, match=r"step \d+.*--learning_rate"):
        loop.train(trainer, Kept())


@pytest.mark.parametrize("parts", [2, 4, 50])
def test_accumulating_over_lanes_changes_nothing(make_trainer: Make, parts: int) -> None:
    whole, split = (make_trainer(torch.float64, dropout=0.3, accumulate=n) for n in (1, parts))
    for _ in range(20):
        one, other = whole.train_step()[0], split.train_step()[0]
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-10)
    torch.testing.assert_close(split.state, whole.state, rtol=1e-8, atol=1e-10)


def test_every_vote_is_seen(make_trainer: Make) -> None:
    trainer = make_trainer()
    for name in ("stop", "late", "evaluate", "save", "look"):
        assert trainer.train_step(Votes(**{name: True}))[1] == Votes(**{name: True})


def test_gradients_are_clipped_by_value_and_by_norm(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.flat.gradient.copy_(torch.linspace(-9, 9, trainer.flat.size))
    norm = trainer.flat.gradient.norm().item()
    assert trainer.flat.clip(0.0, 5.0) == pytest.approx(norm)
    assert trainer.flat.gradient.abs().max() == 5.0
    trainer.flat.clip(1.0)
    assert trainer.flat.gradient.norm().item() == pytest.approx(1.0, rel=1e-5)
    trainer.flat.gradient.copy_(torch.linspace(-9, 9, trainer.flat.size))
    trainer.flat.clip(2.0, 5.0)
    assert trainer.flat.gradient.norm().item() == pytest.approx(2.0, rel=1e-5)
