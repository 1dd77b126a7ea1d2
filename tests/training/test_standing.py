"""How far a run is, as the driver shows it."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.progress import Standing
from pipeline.training import standing as module
from pipeline.training.standing import StandingWatch, introduce, note, progress_of, standing_of

ROW = {"epoch": 3, "train_loss": 0.69314718, "chars_per_sec": 12345.6}


def test_a_line_of_progress() -> None:
    assert note(ROW) == "epoch 3, loss 0.693, 1.000 bits/char, 12,346 chars/s"
    scored = ROW | {"val_loss": 1.0, "val_bits_per_char": 1.4427}
    assert note(scored) == (
        "epoch 3, loss 0.693, 1.000 bits/char, val 1.443 bits/char, 12,346 chars/s"
    )


def trainer(parameters: int, tokens: int) -> Any:
    return SimpleNamespace(
        model=SimpleNamespace(num_parameters=lambda: parameters),
        tokens=range(tokens),
        plan=SimpleNamespace(steps_per_epoch=7),
        group=SimpleNamespace(world_size=2),
        total_steps=20,
        step=5,
    )


def test_rank_0_counts_and_does_not_show(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "unreasonable")
    progress = progress_of(trainer(1, 1), "model")
    assert (progress.what, progress.total, progress.done) == ("train model", 20, 5)
    assert standing_of(progress, {}).text == "5 steps of 20 steps (25%), ? left"
    progress.add(1)
    assert standing_of(progress, ROW).text.endswith("12,346 chars/s")
    progress.finish()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("parameters", "tokens", "advice"),
    [
        (1001, 100, "far more parameters than text"),
        (1000, 100, ""),
        (100, 1000, ""),
        (100, 1001, "far more text than parameters"),
    ],
)
def test_a_model_out_of_proportion_to_its_text_is_named(
    caplog: pytest.LogCaptureFixture, parameters: int, tokens: int, advice: str
) -> None:
    with caplog.at_level(logging.INFO, "unreasonable"):
        introduce(trainer(parameters, tokens), "model")
    lines = [record.message for record in caplog.records]
    assert lines[0] == (
        f"train model: {parameters:,} parameters, {tokens:,} train tokens, "
        "7 steps an epoch, 2 workers"
    )
    assert [line for line in lines[1:] if advice in line] == lines[1:]
    assert len(lines) == (2 if advice else 1)


def test_the_driver_shows_what_is_told_and_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_EVERY_S", 0.001)
    monkeypatch.setattr(module, "SHOW_EVERY_S", 0.0)
    caplog.set_level(logging.INFO, "unreasonable")
    told: list[Standing | None] = [None, Standing(1, 3, "1 of 3"), Standing(2, 3, "2 of 3")]
    was_asked = threading.Event()

    def read() -> Standing | None:
        if len(told) == 1:
            was_asked.set()
            return told[0]
        return told.pop(0)

    watch = StandingWatch(read, "m")
    assert was_asked.wait(10)
    told[0] = Standing(3, 3, "3 of 3")
    watch.stop()
    assert not watch.thread.is_alive()
    assert caplog.messages[0] == "train m: 1 of 3"
    assert caplog.messages[-1] == "train m: 3 of 3"
    assert caplog.messages.count("train m: 3 of 3") == 1


def test_a_rollback_is_noted() -> None:
    row = {"epoch": 0, "train_loss": None, "rolled_back_to": 1200, "chars_per_sec": 5.0}
    assert note(row) == "epoch 0, rolled back to step 1,200, 5 chars/s"


def test_a_run_that_told_nothing_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "unreasonable")
    StandingWatch(lambda: None, "m").stop()
    assert caplog.messages == []
