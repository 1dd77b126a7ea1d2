"""One rank: its step is a plain loop's, its score the mean of the split, its checkpoint exact."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from pipeline import runs
from pipeline.corpora.build import build_corpus
from pipeline.corpora.config import CorpusConfig
from pipeline.corpora.manifest import open_corpus
from pipeline.errors import DamagedError, InputError
from pipeline.model.about import CorpusReference
from pipeline.model.artifact import ARTIFACT, load_network, read_files
from pipeline.runs import checkpoint_name
from pipeline.training import loop
from pipeline.training.checkpoint import Best, CheckpointState
from pipeline.training.config import TrainConfig
from pipeline.training.trainer import NO_VOTES, Trainer, Votes
from tests.training.conftest import SMALL, Kept

Make = Callable[..., Trainer]


def test_training_is_what_a_plain_loop_does(make_trainer: Make) -> None:
    """Another implementation in float64: nn.LSTM with two layers, mean loss, clipping, Adam."""
    trainer = make_trainer(torch.float64, max_grad_norm=0.5)
    symbols = len(trainer.corpus.vocab)
    plain = torch.nn.LSTM(symbols, 16, 2).double()
    head = torch.nn.Linear(16, symbols).double()
    for name, value in trainer.model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "head":
            target = getattr(head, parts[1])
        else:
            target = getattr(plain, parts[2].replace("l0", f"l{parts[1]}"))
        target.data.copy_(value)
    parameters = [*plain.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    text = torch.from_numpy(trainer.tokens.read(0, len(trainer.tokens)).astype("int64"))
    length = (len(text) - 1) // (6 * 20) * 20
    state = None
    for step in range(20):
        rows = torch.stack([text[lane * length + step * 20 :][:21] for lane in range(6)], 1)
        outputs, state = plain(functional.one_hot(rows[:-1], symbols).double(), state)
        state = tuple(part.detach() for part in state)
        loss = functional.cross_entropy(head(outputs).flatten(0, 1), rows[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.cat([parameter.grad.flatten() for parameter in parameters]).norm().item()
        for parameter in parameters:
            parameter.grad.mul_(min(1.0, 0.5 / norm))
        optimizer.step()
        row, _ = trainer.train_step()
        assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-9)
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-9)
    torch.testing.assert_close(trainer.model.head.weight, head.weight, rtol=1e-8, atol=1e-10)


def test_a_row_says_what_a_step_came_to(make_trainer: Make) -> None:
    trainer = make_trainer(schedule="decay", decay_after=1, decay_rate=0.5)
    before = trainer.minutes
    trainer.step = trainer.plan.steps_per_epoch - 1  # the last step of the first epoch
    rows = [trainer.train_step()[0] for _ in range(2)]
    assert [row["step"] for row in rows] == [trainer.step - 1, trainer.step]
    assert [row["epoch"] for row in rows] == [0, 1]
    assert [row["learning_rate"] for row in rows] == [0.01, 0.005]
    assert set(rows[0]) == {
        "step", "epoch", "train_loss", "learning_rate", "grad_norm", "time"
    }  # fmt: skip
    assert trainer.minutes > before
    assert rows[1]["time"] >= rows[0]["time"] > 1.7e9


def test_state_is_carried_within_an_epoch_and_zeroed_at_its_start(make_trainer: Make) -> None:
    trainer = make_trainer()
    seen = []
    real = trainer.run_model

    def spy(tokens: torch.Tensor, state: torch.Tensor, masks: Any) -> Any:
        logits, after = real(tokens, state, masks)
        seen.append((state.clone(), after.detach().clone()))
        return logits, after

    trainer.run_model = spy
    steps = trainer.plan.steps_per_epoch
    for trainer.step in (0, 1, steps, steps + 1):
        trainer.train_step()
    (first, _), (second, _), (third, _), (fourth, _) = seen
    assert first.abs().sum() == third.abs().sum() == 0
    assert torch.equal(second, seen[0][1])
    assert torch.equal(fourth, seen[2][1])
    assert second.abs().sum() > 0
    assert not trainer.state.requires_grad


def test_state_may_be_carried_from_one_epoch_into_the_next(make_trainer: Make) -> None:
    trainer = make_trainer(carry_state=True)
    seen = []
    real = trainer.run_model

    def spy(tokens: torch.Tensor, state: torch.Tensor, masks: Any) -> Any:
        seen.append(state.clone())
        return real(tokens, state, masks)

    trainer.run_model = spy
    trainer.train_step()
    trainer.step = trainer.plan.steps_per_epoch
    before = trainer.state.clone()
    trainer.train_step()
    assert not seen[0].any()  # the first epoch has nothing to go on from
    assert torch.equal(seen[1], before)
    assert before.any()


def test_gradients_of_successive_batches_make_one_update(make_trainer: Make) -> None:
    """In float64: two steps' gradients by hand, the second from the state that the first left."""
    settings = {"optimizer": "adam", "max_grad_norm": 0.0, "dropout": 0.3}
    double = make_trainer(torch.float64, **settings, batches_per_update=2)
    plain = make_trainer(torch.float64, **settings)
    assert double.plan.tokens_per_step == 2 * plain.plan.tokens_per_step
    lanes = range(6)
    batch = torch.from_numpy(double.plan.batch(double.tokens, lanes, 0, 0))
    state = plain.model.initial_state(6)
    plain.flat.zero()
    losses = []
    for number in range(2):
        plain.step = number  # whose masks are drawn
        piece = batch[20 * number :][:21]
        logits, state = plain.model(piece[:-1], state, plain._masks(lanes))
        loss = functional.cross_entropy(logits.flatten(0, 1), piece[1:].flatten())
        # At once: the next batch writes over what this one keeps for it.
        (loss / 2).backward()
        losses.append(loss.item())
        state = state.detach()
    gradient = plain.flat.gradient.clone()
    row, _ = double.train_step()
    torch.testing.assert_close(double.flat.gradient, gradient, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(double.state, state, rtol=1e-9, atol=1e-12)
    assert row["train_loss"] == pytest.approx(sum(losses) / 2, rel=1e-9)
    assert double.train_step()[0]["step"] == 2


def test_a_clip_of_the_summed_gradient_is_char_rnns(make_trainer: Make) -> None:
    """char-rnn sums the loss over time, means it over lanes, and clips every element at 5."""
    settings = {"max_grad_norm": 0.0, "cell": "rnn"}
    limit = 0.02
    plain = make_trainer(torch.float64, **settings)
    plain.train_step()
    as_char_rnn = (plain.flat.gradient * 20).clamp(-limit, limit)
    assert (as_char_rnn.abs() == limit).any()
    clipped = make_trainer(torch.float64, **settings, max_summed_grad_value=limit)
    clipped.train_step()
    torch.testing.assert_close(clipped.flat.gradient * 20, as_char_rnn, rtol=1e-12, atol=0)


def test_first_weights_may_be_char_rnns(make_trainer: Make) -> None:
    trainer = make_trainer(initialization="uniform")
    scaled = make_trainer()
    for name, value in trainer.model.named_parameters():
        assert not torch.equal(value, scaled.model.get_parameter(name))
        if "bias_ih" not in name:
            assert 0.05 < value.abs().max() <= 0.08


@pytest.mark.parametrize("parts", [2, 4, 50])
def test_accumulating_over_lanes_changes_nothing(make_trainer: Make, parts: int) -> None:
    whole = make_trainer(torch.float64, dropout=0.3)
    split = make_trainer(torch.float64, dropout=0.3, accumulate=parts)
    for _ in range(20):
        one, _ = whole.train_step()
        other, _ = split.train_step()
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-10)
    torch.testing.assert_close(split.state, whole.state, rtol=1e-8, atol=1e-10)


def test_dropout_is_of_the_step_and_only_in_training(make_trainer: Make) -> None:
    trainer = make_trainer(dropout=0.5)
    plain = make_trainer()
    assert trainer.evaluate() == plain.evaluate()
    masks = trainer._masks(range(6))
    assert masks is not None
    outputs = torch.ones(20, 6, 16)
    first = masks(0, outputs)
    assert torch.equal(masks(0, outputs), first)
    assert not torch.equal(masks(1, outputs), first)
    trainer.step = 1
    assert torch.equal(masks(0, outputs), first)  # those of the step they were made for
    again = trainer._masks(range(6))
    assert again is not None
    assert not torch.equal(again(0, outputs), first)
    assert plain._masks(range(6)) is None


def test_every_vote_is_seen(make_trainer: Make) -> None:
    trainer = make_trainer()
    assert trainer.train_step()[1] == NO_VOTES == Votes()
    for name in ("stop", "late", "evaluate", "save", "look"):
        assert trainer.train_step(Votes(**{name: True}))[1] == Votes(**{name: True})


def test_gradients_are_clipped_as_configured(make_trainer: Make) -> None:
    """The norm that is reported is the one before."""
    norms = {}
    for max_norm, max_value in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.001), (0.01, 0.001)):
        trainer = make_trainer(max_grad_norm=max_norm, max_grad_value=max_value)
        row, _ = trainer.train_step()
        norms[max_norm, max_value] = trainer.flat.gradient.norm().item()
        assert row["grad_norm"] == pytest.approx(norms[0.0, 0.0], rel=1e-5)
        if max_value:
            assert trainer.flat.gradient.abs().max().item() <= max_value * (1 + 1e-6)
    assert norms[0.1, 0.0] == pytest.approx(0.1, rel=1e-5)
    assert norms[0.01, 0.001] == pytest.approx(0.01, rel=1e-5)


def test_evaluation_is_the_mean_over_the_split(make_trainer: Make) -> None:
    trainer = make_trainer(torch.float64, eval_lanes=1)
    text = torch.from_numpy(trainer.val.read(0, len(trainer.val)).astype("int64")).unsqueeze(1)
    logits, _ = trainer.model(text[:-1], trainer.model.initial_state(1))
    loss = functional.cross_entropy(logits[:, 0], text[1:, 0]).item()
    figures = trainer.evaluate()
    assert figures["val_loss"] == pytest.approx(loss, rel=1e-10)
    assert figures["val_bits_per_char"] == pytest.approx(loss / math.log(2), rel=1e-10)
    # A byte is a character here, and this text has no separators.
    assert figures["val_bits_per_byte"] == pytest.approx(loss / math.log(2), rel=0.01)
    assert trainer.last_val == figures


def test_the_best_is_the_lowest_and_the_rest_are_stale(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer()
    tokens = len(trainer.val) - 1
    seen = []
    for trainer.step, loss in enumerate([3.0, math.nan, 3.0, 2.0, 2.5, math.inf, 1.0], start=1):
        total = torch.tensor([loss * tokens], dtype=torch.float64)
        monkeypatch.setattr("pipeline.training.trainer.summed_nats", lambda *_, t=total: t)
        trainer.evaluate()
        assert trainer.best.val_loss is not None
        seen.append((trainer.best.step, round(trainer.best.val_loss, 9), trainer.stale))
    assert seen == [
        (1, 3.0, 0), (1, 3.0, 1), (1, 3.0, 2), (4, 2.0, 0), (4, 2.0, 1), (4, 2.0, 2), (7, 1.0, 0)
    ]  # fmt: skip


def test_a_first_evaluation_that_is_no_number_is_no_best(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer()
    total = torch.tensor([math.nan], dtype=torch.float64)
    monkeypatch.setattr("pipeline.training.trainer.summed_nats", lambda *_: total)
    trainer.evaluate()
    assert (trainer.best, trainer.stale) == (Best(), 1)


def test_figures_that_are_no_numbers_are_left_out_of_a_checkpoint(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.last_val = {"val_loss": math.nan, "val_bits_per_char": math.nan}
    files = trainer.files(evaluated=True)
    assert files is not None
    assert b'"val_loss": null' in files["state.json"]
    assert b'"metrics": {}' in files["config.json"]


def test_a_checkpoint_holds_no_pickle_and_says_where_it_stood(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    trainer = make_trainer()
    loop.train(trainer, kept)
    url = kept.write(str(tmp_path), 20)
    assert url == str(tmp_path / checkpoint_name(20))
    assert runs.complete(str(tmp_path)) == [checkpoint_name(20)]
    corpus = trainer.corpus
    reference = CorpusReference(corpus.name, corpus.version, corpus.fingerprint)
    network, vocab, about = load_network(read_files(url, ARTIFACT), url)
    assert about.metrics == trainer.last_val
    assert about.metrics["val_loss"] == kept.rows[-1]["val_loss"]
    assert (about.step, about.corpus, about.lineage) == (20, reference, None)
    assert about.first_tokens == corpus.manifest.first_tokens
    assert about.train["hidden_size"] == 16
    assert len(vocab) == network.config.vocab_size
    state = CheckpointState.read(url)
    assert state == CheckpointState(
        step=20,
        epoch=20 // trainer.plan.steps_per_epoch,
        minutes=trainer.minutes,
        val_loss=kept.rows[-1]["val_loss"],
        best=trainer.best,
        stale=0,
        journal=trainer.journal.state,
        corpus=reference,
        config=about.train,
        world_size=1,
        healing=trainer.healing,
        evaluated=trainer.evaluated,
    )
    for path in Path(url).iterdir():
        assert b"torch" not in path.read_bytes()[:64]
        assert path.suffix in (".json", ".safetensors", ".jsonl")
    (Path(url) / "digests.json").unlink()
    assert runs.complete(str(tmp_path)) == []


def test_a_checkpoint_without_an_evaluation_has_no_figures(make_trainer: Make) -> None:
    trainer = make_trainer()
    trainer.evaluate()
    trainer.train_step()
    files = trainer.files(evaluated=False)
    assert files is not None
    assert b'"val_loss": null' in files["state.json"]
    assert b'"metrics": {}' in files["config.json"]


def test_what_a_checkpoint_holds_is_taken_up(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    trainer = make_trainer(eval_every=5, max_steps=17)
    loop.train(trainer, kept)
    trainer.best = Best(5, 0.5)
    trainer.stale = 3
    kept.save(17, trainer.files(evaluated=False) or {}, trainer.journal.data + b'{"step": 18}\n')
    again = make_trainer(eval_every=5, max_steps=17)
    again.load(kept.write(str(tmp_path), 17) + "/")
    assert (again.step, again.minutes, again.best, again.stale) == (
        17, trainer.minutes, Best(5, 0.5), 3
    )  # fmt: skip
    assert again.journal.data == trainer.journal.data  # what stood behind is cut off
    assert torch.equal(again.state, trainer.state)
    assert again.train_step()[0]["train_loss"] == trainer.train_step()[0]["train_loss"]


def test_a_tampered_or_foreign_checkpoint_is_refused_by_name(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    loop.train(make_trainer(), kept)
    url = Path(kept.write(str(tmp_path), 20))
    for name in ("weights", "optimizer", "lanes", "snapshot"):
        file = url / f"{name}.safetensors"
        good = file.read_bytes()
        file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(DamagedError, match=rf"{name}\.safetensors does not have the digest"):
            make_trainer().load(str(url))
        file.write_bytes(good)
    with pytest.raises(DamagedError, match="not a safetensors file"):
        load_network({**kept.files[20], "weights.safetensors": b"\x80\x04pickle"}, "m")
    with pytest.raises(InputError, match="--hidden_size 16"):
        make_trainer(hidden_size=17).load(str(url))
    make_trainer(max_steps=90).load(str(url))
    (url / "state.json").write_bytes(kept.files[20]["state.json"].replace(b"20", b"21"))
    with pytest.raises(DamagedError, match=r"state\.json does not have the digest"):
        make_trainer().load(str(url))


def test_a_checkpoint_of_another_corpus_is_refused(
    make_trainer: Make, tmp_path: Path, kept: Kept, texts: Path
) -> None:
    trainer = make_trainer(max_steps=1)
    loop.train(trainer, kept)
    url = kept.write(str(tmp_path / "run"), 1)
    build_corpus(
        CorpusConfig(
            name="small", source=str(texts / "bisect.py"), val=0.2, test=0.0, split="tail"
        ),
        str(tmp_path),
    )
    other = open_corpus(str(tmp_path), "small")
    elsewhere = Trainer(TrainConfig(**{**SMALL, "max_steps": 1}), other, torch.device("cpu"))
    with pytest.raises(InputError) as caught:
        elsewhere.load(url)
    assert str(caught.value) == (
        f"{url} was trained on corpus small@{trainer.corpus.version}, this is "
        f"small@{other.version}; resume with that version, or start a new run."
    )


def test_a_cosine_run_keeps_its_end(make_trainer: Make, tmp_path: Path, kept: Kept) -> None:
    loop.train(make_trainer(schedule="cosine"), kept)
    url = kept.write(str(tmp_path), 20)
    with pytest.raises(InputError, match="--max_steps 20"):
        make_trainer(schedule="cosine", max_steps=90).load(url)


def test_a_lane_of_an_interleaved_corpus_is_a_stream(
    tmp_path: Path, texts: Path, kept: Kept
) -> None:
    lanes = SMALL["global_batch_size"]
    source = str(texts / "bisect.py")
    settings = CorpusConfig(
        name="small", source=source, split="interleaved", streams=lanes, stream_seq_len=8,
        val=0.2, test=0.0,
    )  # fmt: skip
    build_corpus(settings, str(tmp_path))
    corpus = open_corpus(str(tmp_path), "small")
    config = TrainConfig(**{**SMALL, "seq_len": 8, "max_steps": 3})
    trainer = Trainer(config, corpus, torch.device("cpu"))
    assert corpus.manifest.streams is not None
    assert trainer.plan.stream_tokens == corpus.manifest.streams.train_tokens
    text = Path(source).read_bytes()
    stream = len(text) // (lanes * 8) * 8
    batch = trainer.plan.batch(trainer.tokens, trainer.lanes, 0, 1)
    for lane in range(lanes):
        expected = text[lane * stream + 8 : lane * stream + 17]
        assert corpus.vocab.decode(batch[:, lane]) == expected
    loop.train(trainer, kept)
    assert trainer.step == 3
