"""The GPU's engine, uncaptured on the processor where there is no GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.corpora.vocab import Vocab
from pipeline.engine.cuda import CudaEngine
from pipeline.engine.engine import Engine
from pipeline.engine.request import Request
from tests.engine.small import engine, last_pieces

VOCAB = Vocab("char", [None, 10, *range(97, 109)])


def engines(cell: str = "lstm", device: str = "cpu") -> tuple[CudaEngine, Engine]:
    first_tokens = ((1, 3), (3, 1))
    compiled, model = engine(cell, vocab=VOCAB)
    return CudaEngine(model, VOCAB, first_tokens, device), compiled


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(
    ("options", "stop"),
    [
        ({}, b""),
        ({"prime": b"abc", "top_k": 4}, b"ab"),
        ({"top_p": 0.7, "temperature": 1.3}, b""),
        ({"temperature": 0.0}, b""),
        ({"lines": 9, "prime": b"k"}, b""),
    ],
)
def test_it_writes_what_the_compiled_engine_writes(
    cell: str, options: dict[str, Any], stop: bytes
) -> None:
    theirs, ours = engines(cell)
    requests = [Request(n, 60 + 50 * n, **options) for n in range(8)]
    assert theirs.sample(requests, stop) == ours.sample(requests, stop)
    ends = last_pieces(theirs, requests, stop)
    for name, piece in last_pieces(ours, requests, stop).items():
        assert ends[name].sampled == piece.sampled
        assert ends[name].nats == pytest.approx(piece.nats, rel=1e-4)


def test_a_saved_lane_goes_on_on_either_engine() -> None:
    theirs, ours = engines()
    request = Request(1, 900, 0.8)
    (whole,) = ours.sample([request])
    for first, then in ((theirs, theirs), (ours, theirs), (theirs, ours)):
        lanes = first.lanes(2)
        lanes.start("x", request)
        (piece,) = lanes.advance()
        rest = then.lanes(1)
        rest.start("x", request, lanes.save("x"))
        text = piece.text
        while rest.running:
            text += b"".join(piece.text for piece in rest.advance())
        assert text == whole


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_captured_step_writes_what_the_uncaptured_one_writes() -> None:
    captured, _ = engines(device="cuda")
    plain, _ = engines()
    requests = [Request(n, 500) for n in range(8)]
    assert captured.sample(requests) == plain.sample(requests)
