"""An evaluation made by hand, for tests of what shows it."""

from __future__ import annotations

import dataclasses

from pipeline.evaluation.compressors import CompressorScore
from pipeline.evaluation.intervals import Blocks, Interval
from pipeline.evaluation.ngrams import NgramScore
from pipeline.evaluation.result import Difference, Evaluation, ModelScore, Training
from pipeline.evaluation.scores import Unknown
from pipeline.evaluation.texts import Origin

SCORE = ModelScore(
    model="mine/1",
    weights_sha256="ab" * 32,
    corpus="texts@0123456789ab",
    parameters=12_345,
    precision="fp32",
    unit="byte",
    lanes=3,
    symbols=20_000,
    nats=1.25,
    bits_per_char=1.75,
    bits_per_byte=1.75,
    bits_per_char_interval=Interval(1.7, 1.8),
    bits_per_byte_interval=Interval(1.7, 1.8),
    unknown=Unknown(2, 2, 44.6, "a price"),
    rule="tail: the end of the text",
    may_have_learnt="",
    curve=(1.5, 2.0),
)


def evaluation(**changes: object) -> Evaluation:
    made = Evaluation(
        text=Origin("val of texts@0123456789ab", "tail: the end of the text", 20_000, "cd" * 32),
        bootstrap=Blocks.of(20_000).bootstrap,
        models=(SCORE, dataclasses.replace(SCORE, model="other/2", bits_per_byte=2.0)),
        differences=(Difference("mine/1", "other/2", 0.25, Interval(0.2, 0.3)),),
        compressors=(
            CompressorScore("xz", "xz -9e", 20_000, 6000, 5000, 80_000),
            CompressorScore("ppmd", "PPMd", 20_000, 5500, None, 0),
        ),
        ngrams=(NgramScore(1, 4.5, None), NgramScore(2, 3.5, Interval(3.4, 3.6))),
        training=Training("train of texts@0123456789ab", 90_000, 80_000),
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]
