"""A sample of a model in training is what the engine samples, and the same whenever it is taken."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.engine.engine import engine_of
from pipeline.engine.request import Request
from pipeline.training.preview import TEMPERATURE, preview
from pipeline.training.trainer import Trainer

Make = Callable[..., Trainer]


def sampled(trainer: Trainer, number: int, chars: int, temperature: float, seed: int) -> bytes:
    corpus = trainer.corpus
    engine = engine_of(trainer.model, corpus.vocab, corpus.manifest.first_tokens)
    (text,) = engine.sample([Request(number, chars, temperature, seed=seed)])
    return text


def test_a_preview_is_the_engines_text(make_trainer: Make) -> None:
    trainer = make_trainer(seed=5)
    for _ in range(3):
        trainer.train_step()
    text = preview(trainer, 60)
    assert text == sampled(trainer, 3, 60, 0.8, 5)
    assert (len(text), TEMPERATURE) == (60, 0.8)
    assert text != sampled(trainer, 3, 60, 1.0, 5)


def test_it_is_the_same_whenever_its_step_is_reached(make_trainer: Make) -> None:
    texts = []
    for _ in range(2):
        trainer = make_trainer()
        trainer.train_step()
        texts += [preview(trainer, 30), preview(trainer, 30)]
    assert len(set(texts)) == 1


def test_samples_of_one_run_differ_by_step_and_runs_by_seed(make_trainer: Make) -> None:
    trainer = make_trainer()
    texts = set()
    for trainer.step in range(5):
        texts.add(preview(trainer, 30))
    other = make_trainer(seed=2)
    other.model.load_state_dict(trainer.model.state_dict())
    texts.add(preview(other, 30))
    assert len(texts) == 6


def test_it_leaves_training_alone(make_trainer: Make) -> None:
    one = make_trainer(dropout=0.2)
    other = make_trainer(dropout=0.2)
    preview(one, 10)
    assert one.train_step()[0]["train_loss"] == other.train_step()[0]["train_loss"]
