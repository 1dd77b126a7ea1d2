"""SECTION.SETTING=VALUE. What a job does with it is tests/jobs/test_command.py's subject."""

from __future__ import annotations

import pytest

from jobs.overrides import EXAMPLES, read_overrides
from pipeline.corpora.config import CorpusConfig
from pipeline.errors import InputError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.sampling.config import SampleConfig
from pipeline.settings import Place, read
from pipeline.training.config import TrainConfig

SECTIONS = {
    "corpus": CorpusConfig,
    "train": TrainConfig,
    "sample": SampleConfig,
    "evaluate": EvaluateConfig,
}


def test_the_last_one_wins() -> None:
    arguments = ["train.seed=1", "corpus.url=a=b.c", "train.seed=2"]
    changes = read_overrides(arguments, SECTIONS)
    assert changes == {"train": {"seed": "2"}, "corpus": {"url": "a=b.c"}}
    assert changes["train"].places["seed"] == Place(where="train.seed=2", written="2")
    assert read_overrides([], SECTIONS) == {}


@pytest.mark.parametrize(
    "argument", ["x", "x=1", "train.seed", "a.b=1", "train.b=1", ".=", "=", "."]
)
def test_what_is_none_is_refused(argument: str) -> None:
    with pytest.raises(InputError):
        read_overrides([argument], SECTIONS)


def test_the_examples_of_help_are_right() -> None:
    assert set(EXAMPLES) == set(SECTIONS)
    for section, settings in read_overrides(EXAMPLES.values(), SECTIONS).items():
        read(SECTIONS[section], settings, section)
