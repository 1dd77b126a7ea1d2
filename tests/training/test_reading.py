"""Which documents lanes were reading, the hardest first."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.corpora.trace import Tracer
from pipeline.training.reading import WORST, Reading, readings
from pipeline.training.trainer import Trainer

Make = Callable[..., Trainer]


def test_the_hardest_lanes_are_named_first_with_their_documents(make_trainer: Make) -> None:
    trainer = make_trainer()
    tracer = Tracer(trainer.corpus)
    plan = trainer.plan
    nats = [20.0, 60.0, math.nan, 10.0, 80.0, 40.0]
    found = readings(tracer, plan, 1, 2, nats)
    lanes = list(dict.fromkeys(reading.lane for reading in found))
    assert lanes == [2, 4, 1, 5, 0, 3]
    assert found[0].nats is None
    assert found[-1].nats == 10 / plan.seq_len
    for reading in found[:2]:
        lane_start = plan.start(1, reading.lane, 2)
        origin = tracer.origin("train", lane_start)
        assert (reading.path, reading.offset) == (origin.path, origin.offset)


def test_a_lane_that_goes_on_into_another_document_names_both(make_trainer: Make) -> None:
    trainer = make_trainer()
    tracer = Tracer(trainer.corpus)
    plan = trainer.plan
    boundary = tracer.parts("train")[1].offset
    lane, step = next(
        (lane, step)
        for lane in range(6)
        for step in range(plan.steps_per_epoch)
        if plan.start(0, lane, step) < boundary <= plan.start(0, lane, step) + plan.seq_len
    )
    nats = [0.0] * 6
    nats[lane] = 1.0
    first, second = [each for each in readings(tracer, plan, 0, step, nats) if each.lane == lane]
    assert first.path != second.path
    assert second.offset == 0


def test_no_more_than_the_worst_are_named(make_trainer: Make) -> None:
    trainer = make_trainer(global_batch_size=30)
    found = readings(Tracer(trainer.corpus), trainer.plan, 0, 0, list(range(30)))
    assert len({reading.lane for reading in found}) == WORST


def test_a_reading_in_words_and_json() -> None:
    reading = Reading("a.py", 1234, 3, 2.5)
    assert str(reading) == "a.py at byte 1,234 (2.50 nats)"
    assert str(Reading("a.py", None, 3, None)) == "a.py at its end (no number)"
    assert str(Reading("a\x1b[2J\udcff", 0, 0, 1.0)) == "a?[2J? at byte 0 (1.00 nats)"
    assert reading.to_json() == {"path": "a.py", "offset": 1234, "lane": 3, "nats": 2.5}
