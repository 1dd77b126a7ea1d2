"""The loop in one process: it learns, stops and resumes exactly, and does what is due."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import progress
from pipeline.training import loop
from pipeline.training.checkpoint import Best
from pipeline.training.config import TrainConfig
from pipeline.training.group import Group
from pipeline.training.journal import rows
from pipeline.training.loop import Clock, RunResult
from pipeline.training.trainer import Trainer, Votes
from tests.training.conftest import Kept

Make = Callable[..., Trainer]

# Learning goes backwards after the first evaluation, so that later ones are no new best.
GETS_WORSE: dict[str, Any] = {"learning_rate": 3.0, "max_grad_norm": 0.0, "max_rollbacks": 0}


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def stable(journal: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what depends on the clock."""
    return [
        {key: value for key, value in row.items() if key not in ("time", "chars_per_sec")}
        for row in journal
    ]


def evaluated(kept: Kept) -> list[int]:
    return [row["step"] for row in kept.rows if "val_loss" in row]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The loop's clock: it stands at `now` until a test moves it."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def test_the_loss_falls(make_trainer: Make, kept: Kept) -> None:
    loop.train(make_trainer(max_steps=150, eval_every=75), kept)
    assert kept.rows[-1]["train_loss"] < 0.75 * kept.rows[0]["train_loss"]
    assert kept.rows[149]["val_loss"] < kept.rows[74]["val_loss"]


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_stopped_and_resumed_equals_uninterrupted(
    make_trainer: Make, tmp_path: Path, optimizer: str, cell: str
) -> None:
    settings = {
        "optimizer": optimizer,
        "cell": cell,
        "dropout": 0.2,
        "schedule": "decay",
        "decay_after": 1,
        "accumulate": 2,
        "global_batch_size": 30,
        "seq_len": 25,
        "max_steps": 50,
        "eval_every": 20,
        "checkpoint_every": 20,
        "patience": 9,
    }
    whole = make_trainer(**settings)
    kept = Kept()
    loop.train(whole, kept)
    # Three epochs: state is reset, offsets move, the rate decays.
    assert 2 * whole.plan.steps_per_epoch < 50
    assert len({row["learning_rate"] for row in kept.rows}) > 1
    url = ""
    for stop_at in (7, 20, 21, 49, 0):
        part = make_trainer(**settings)
        some = Kept(stop_at)
        if url:
            part.load(url)
            some.stop_at = stop_at and stop_at - part.step
        result = loop.train(part, some)
        assert result.stopped is bool(stop_at)
        assert part.step == (stop_at or 50)
        url = some.write(str(tmp_path), part.step)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(part)[name]), name
    assert [row["step"] for row in rows(some.journals[50])] == list(range(1, 51))
    assert stable(rows(some.journals[50])) == stable(kept.rows)
    for name in ("weights.safetensors", "optimizer.safetensors", "lanes.safetensors"):
        assert some.files[50][name] == kept.files[50][name], name


def test_every_option_is_resumed_exactly(make_trainer: Make, tmp_path: Path) -> None:
    """Stops fall at the end of an epoch, whose state is carried on, and within one."""
    settings = {
        "initialization": "uniform", "carry_state": True, "batches_per_update": 2, "dropout": 0.2,
        "optimizer": "adamw", "beta1": 0.8, "eps": 1e-6, "weight_decay": 0.1,
        "weight_decay_on": "matrices", "schedule": "decay", "decay_after": 1, "decay_every": 2,
        "warmup_steps": 5, "min_learning_rate": 0.009, "max_grad_norm": 0.0,
        "max_summed_grad_value": 0.5, "global_batch_size": 30, "max_steps": 25,
    }  # fmt: skip
    whole = make_trainer(**settings)
    kept = Kept()
    loop.train(whole, kept)
    per_epoch = whole.plan.steps_per_epoch
    assert 2 * per_epoch < 25
    url = ""
    for stop_at in (per_epoch, per_epoch + 1, 0):
        part = make_trainer(**settings)
        some = Kept(stop_at)
        if url:
            part.load(url)
            some.stop_at = stop_at and stop_at - part.step
        loop.train(part, some)
        url = some.write(str(tmp_path), part.step)
    assert stable(rows(some.journals[25])) == stable(kept.rows)
    for name in ("weights.safetensors", "optimizer.safetensors", "lanes.safetensors"):
        assert some.files[25][name] == kept.files[25][name], name


def test_a_stop_is_seen_and_leaves_a_checkpoint(make_trainer: Make) -> None:
    kept = Kept(stop_at=5)
    result = loop.train(make_trainer(max_steps=1000), kept)
    assert (result.step, result.stopped, list(kept.files)) == (5, True, [5])
    assert evaluated(kept) == []  # which going on would not have done either


def test_a_stop_where_an_evaluation_is_due_makes_it(make_trainer: Make) -> None:
    kept = Kept(stop_at=10)
    result = loop.train(make_trainer(max_steps=1000), kept)
    assert (result.step, result.stopped, evaluated(kept)) == (10, True, [10])


def test_a_stop_at_the_last_step_is_the_end(make_trainer: Make) -> None:
    kept = Kept(stop_at=5)
    assert not loop.train(make_trainer(max_steps=5), kept).stopped
    assert evaluated(kept) == [5]


def test_a_run_that_is_over_makes_no_step(make_trainer: Make, kept: Kept) -> None:
    trainer = make_trainer(max_steps=5)
    trainer.step = 5
    result = loop.train(trainer, kept)
    assert (result.step, result.stopped, kept.rows, kept.files) == (5, False, [], {})


def test_what_a_run_came_to(make_trainer: Make, kept: Kept) -> None:
    trainer = make_trainer(max_steps=25)
    result = loop.train(trainer, kept)
    assert result == RunResult(
        step=25,
        epoch=25 / trainer.plan.steps_per_epoch,
        minutes=trainer.minutes,
        best=trainer.best,
        parameters=sum(value.numel() for value in weights(trainer).values()),
        stopped=False,
        chars_per_sec=kept.rows[-1]["chars_per_sec"],
    )


def test_a_rate_is_over_the_time_that_the_work_took(
    make_trainer: Make, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations count, as they do in what a person waits for; the journal, which goes to MLflow,
    and the result say the same.
    """
    now = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    trainer = make_trainer(max_steps=4, eval_every=2)
    real_step = trainer.train_step
    real_evaluation = trainer.evaluate

    def one_second(votes: Votes) -> Any:
        now[0] += 1
        return real_step(votes)

    def eight_seconds() -> dict[str, float]:
        now[0] += 8
        return real_evaluation()

    monkeypatch.setattr(trainer, "train_step", one_second)
    monkeypatch.setattr(trainer, "evaluate", eight_seconds)
    result = loop.train(trainer, kept)
    chars = trainer.plan.tokens_per_step
    rates = [row["chars_per_sec"] for row in kept.rows]
    assert rates == [chars / 1, 2 * chars / 10, 3 * chars / 11, 4 * chars / 20]
    assert result.chars_per_sec == rates[-1]
    assert loop.train(trainer, kept).chars_per_sec is None  # nothing was left to do
    scored = {row["step"]: row["val_loss"] for row in kept.rows if "val_loss" in row}
    best = min(scored, key=lambda step: scored[step])
    assert result.best == Best(best, scored[best])
    assert result.to_json()["best"] == {"step": best, "val_loss": scored[best]}
    assert RunResult.from_json(result.to_json()) == result


def test_checkpoints_come_when_they_are_due(make_trainer: Make, kept: Kept) -> None:
    trainer = make_trainer(**GETS_WORSE, optimizer="adamw", eval_every=2, checkpoint_every=7)
    loop.train(trainer, kept)
    scored = [row for row in kept.rows if "val_loss" in row]
    best = min(scored, key=lambda row: row["val_loss"])["step"]
    assert set(kept.files) >= {7, 14, 20, best}
    assert evaluated(kept) == list(range(2, 21, 2))
    assert set(kept.files) - {7, 14, 20} < set(evaluated(kept))
    assert trainer.best.step == best
    # Of a step that was not evaluated a checkpoint has no figures.
    assert b'"metrics": {}' in kept.files[7]["config.json"]
    assert b'"metrics": {}' not in kept.files[14]["config.json"]


def test_a_checkpoint_has_the_rows_up_to_its_step(make_trainer: Make, kept: Kept) -> None:
    loop.train(make_trainer(checkpoint_every=7), kept)
    for step, journal in kept.journals.items():
        assert rows(journal) == kept.rows[:step]


def test_a_row_has_the_figures_of_its_evaluation(make_trainer: Make, kept: Kept) -> None:
    trainer = make_trainer()
    loop.train(trainer, kept)
    assert kept.rows[-1].items() >= trainer.last_val.items()
    assert rows(kept.journals[20])[-1] == kept.rows[-1]


class Ticking(Kept):
    """A step takes 10 s of training."""

    def __init__(self, trainer: Trainer, stop_at: int = 0) -> None:
        super().__init__(stop_at)
        self.trainer = trainer
        self.ticks = trainer.step

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None:
        super().progress(done, total, row)
        self.ticks += 1
        self.trainer.minutes = self.ticks / 6

    def stop_asked(self) -> bool:
        self.trainer.minutes = self.ticks / 6  # before a step too: without what it really took
        return super().stop_asked()


BY_THE_MINUTE: dict[str, Any] = {**GETS_WORSE, "eval_every": "1m", "checkpoint_every": "0.5m"}


def test_minutes_count_too(make_trainer: Make) -> None:
    """What is due is told before a step, and done after it."""
    trainer = make_trainer(**BY_THE_MINUTE)
    kept = Ticking(trainer)
    loop.train(trainer, kept)
    assert evaluated(kept) == [7, 14, 20]
    # A checkpoint of the best at 7 puts off the next one; every other one is due after 30 s.
    assert sorted(kept.files) == [4, 7, 11, 15, 19, 20]


def test_minutes_count_over_all_sessions_of_a_run(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(**BY_THE_MINUTE)
    evaluations = []
    last = 0
    for stop_at in (3, 3, 3, 3, 3, 0):  # by the clock of one session nothing would be due
        kept = Ticking(trainer, stop_at)
        loop.train(trainer, kept)
        evaluations += evaluated(kept)
        last = trainer.step
        resumed = make_trainer(**BY_THE_MINUTE)
        resumed.load(kept.write(str(tmp_path), last))
        trainer = resumed
    assert (last, evaluations) == (20, [7, 14, 20])


def test_the_first_step_tells_that_time_is_over_and_the_second_ends_it(make_trainer: Make) -> None:
    late = Kept()
    result = loop.train(make_trainer(max_minutes=1e-9, max_steps=0, max_epochs=0), late)
    assert (len(late.rows), result.stopped) == (2, False)
    assert evaluated(late) == list(late.files) == [2]


def test_a_stop_when_time_is_over_can_be_resumed(make_trainer: Make) -> None:
    late = Kept(stop_at=2)
    result = loop.train(make_trainer(max_minutes=1e-9, max_steps=0, max_epochs=0), late)
    assert (result.step, result.stopped, evaluated(late)) == (2, True, [2])


def test_patience_ends_a_run_that_no_longer_improves(
    make_trainer: Make, tmp_path: Path, kept: Kept
) -> None:
    settings = {**GETS_WORSE, "eval_every": 1, "patience": 3, "max_steps": 300}
    trainer = make_trainer(**settings)
    loop.train(trainer, kept)
    losses = [row["val_loss"] for row in kept.rows]
    assert trainer.step < 300
    assert min(losses) == losses[-4]
    assert trainer.step in kept.files
    again = make_trainer(**settings)
    again.load(kept.write(str(tmp_path), trainer.step))
    assert loop.train(again, Kept()).step == trainer.step  # it is over, and stays over


def test_a_stop_at_the_evaluation_that_uses_up_patience_is_a_stop(
    make_trainer: Make, kept: Kept
) -> None:
    settings = {**GETS_WORSE, "eval_every": 1, "patience": 3, "max_steps": 300}
    last = loop.train(make_trainer(**settings), kept).step
    result = loop.train(make_trainer(**settings), Kept(stop_at=last))
    assert (result.step, result.stopped) == (last, True)


def test_samples_are_taken_at_their_steps(make_trainer: Make, kept: Kept) -> None:
    loop.train(make_trainer(sample_every="3,5,20"), kept)
    assert kept.sampled == [3, 5, 20]
    every = Kept()
    loop.train(make_trainer(sample_every=8), every)
    assert every.sampled == [8, 16]


def test_a_run_that_rollbacks_do_not_help_ends_with_its_rows_and_a_good_model(
    make_trainer: Make, kept: Kept, tmp_path: Path
) -> None:
    settings = {"learning_rate": 1e37, "optimizer": "rmsprop", "max_grad_norm": 0.0}
    trainer = make_trainer(**settings, max_steps=200, max_rollbacks=3)
    result = loop.train(trainer, kept)
    assert result.diverged is not None
    assert result.diverged.startswith(
        f"training diverged at step {trainer.step} after 3 rollbacks: loss "
    )
    assert (result.rollbacks, result.stopped) == (4, False)
    assert RunResult.from_json(result.to_json()) == result
    # The last step's row and checkpoint are there, and the checkpoint was scored.
    assert evaluated(kept)[-1] == trainer.step == max(kept.files) == len(kept.rows)
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())
    again = make_trainer(**settings, max_steps=200, max_rollbacks=3)
    again.load(kept.write(str(tmp_path), trainer.step))
    assert loop.train(again, Kept()).diverged == result.diverged  # it stays over


class Leaving(Kept):
    """A node is about to go away after some steps; counts the questions."""

    def __init__(self, steps: tuple[int, ...], clock: SimpleNamespace) -> None:
        super().__init__()
        self.steps = steps
        self.clock = clock
        self.questions: list[int] = []

    def progress(self, done: int, total: int, row: dict[str, Any]) -> None:
        super().progress(done, total, row)
        self.clock.now += 1

    def leaving(self) -> bool:
        self.questions.append(len(self.rows))
        return len(self.rows) in self.steps


def test_a_checkpoint_is_written_when_a_node_is_about_to_leave(
    make_trainer: Make, clock: SimpleNamespace
) -> None:
    """Asked every 5 s, of 1 s a step."""
    leaving = Leaving((12,), clock)
    loop.train(make_trainer(eval_every=1000), leaving, look_every_s=5.0)
    assert leaving.questions == [6, 12, 18]
    assert list(leaving.files) == [12, 20]
    never = Leaving((12,), clock)
    loop.train(make_trainer(eval_every=1000), never)
    assert (never.questions, list(never.files)) == ([], [20])


def test_other_ranks_take_no_samples_and_save_nothing(make_trainer: Make) -> None:
    """And ask nobody: what rank 0 voted for comes to them with the step."""

    class NotAsked(Kept):
        def stop_asked(self) -> bool:
            raise AssertionError("rank 0 asks")

    class Follower(Group):
        leads = property(lambda self: False)

    trainer = make_trainer(sample_every=5, checkpoint_every=5)
    trainer.group = Follower()
    other = NotAsked()
    result = loop.train(trainer, other)
    assert (result.step, other.files, other.sampled) == (20, {}, [])
    assert evaluated(other) == [10, 20]


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(corpus="any", max_epochs=0, **{"max_steps": 5, **changes})


@pytest.mark.parametrize(
    ("option", "kept", "vote"),
    [("eval_every", "evaluated", "evaluate"), ("checkpoint_every", "saved", "save")],
)
def test_a_vote_is_cast_when_its_minutes_have_passed(option: str, kept: str, vote: str) -> None:
    made = Clock(config(**{"eval_every": 5, "checkpoint_every": 5, option: "2m"}))
    assert made.votes(1.99, stop=False) == Votes()
    for minutes in (2.0, 9.0):
        assert made.votes(minutes, stop=False) == Votes(**{vote: True})
    setattr(made, kept, 9.0)
    assert made.votes(10.99, stop=False) == Votes()
    assert made.votes(11.0, stop=False) == Votes(**{vote: True})
    # A session goes on where the one before it was.
    resumed = Clock(config(**{"eval_every": 5, "checkpoint_every": 5, option: "2m"}), 9.0, 9.0)
    assert resumed.votes(10.99, stop=False) == Votes()


def test_a_look_goes_by_the_worlds_clock(clock: SimpleNamespace) -> None:
    made = Clock(config(eval_every=5, checkpoint_every=5), look_every_s=120.0)
    for _ in range(2):
        clock.now += 119.5
        assert made.votes(0.0, stop=False) == Votes()
        clock.now += 0.5
        assert made.votes(0.0, stop=False) == Votes(look=True)
        made.looked = clock.now


def test_nothing_is_due_by_the_clock_when_all_is_due_by_steps(clock: SimpleNamespace) -> None:
    made = Clock(config(eval_every=5, checkpoint_every=5))
    clock.now += 10**9
    assert made.votes(10.0**9, stop=False) == Votes()
    assert made.votes(0.0, stop=True) == Votes(stop=True)


@pytest.mark.parametrize(("minutes", "late"), [(1.49, False), (1.5, True), (99.0, True)])
def test_time_is_over_after_max_minutes(clock: SimpleNamespace, minutes: float, late: bool) -> None:
    made = Clock(config(max_minutes=1.5, checkpoint_every=5))
    assert made.votes(minutes, stop=False) == Votes(late=late)
