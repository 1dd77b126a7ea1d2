"""What an evaluation comes to, as JSON."""

from __future__ import annotations

import json

import numpy as np

from pipeline.evaluation.result import FORMAT, Stream
from tests.evaluation.sample_result import evaluation


def test_its_json_is_its_figures_without_the_streams() -> None:
    made = evaluation(streams={"mine/1": Stream(np.zeros(3), np.arange(3))})
    value = json.loads(json.dumps(made.to_json()))
    assert value["format"] == FORMAT
    assert "streams" not in value
    assert value["models"][0]["bits_per_byte_interval"] == {"low": 1.7, "high": 1.8}
    assert value["models"][0]["unknown"]["symbols"] == 2
    assert value["models"][1]["curve"] == [1.5, 2.0]
    assert value["compressors"][0]["warm_bits_per_byte"] == 2.0
    assert value["ngrams"][0] == {"n": 1, "bits_per_byte": 4.5, "interval": None}
    assert value["training"]["ngram_bytes"] == 80_000
    assert evaluation(training=None).to_json()["training"] is None


def test_the_best_ngram_is_the_one_with_the_fewest_bits() -> None:
    best = evaluation().best_ngram
    assert best is not None
    assert best.n == 2
    assert evaluation(ngrams=()).best_ngram is None
