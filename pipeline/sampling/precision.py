"""Whether a model may be sampled in int8: its loss in both precisions, on the same text, by the engine itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.corpora.vocab import Vocab
from pipeline.sampling.engine import Engine
from pipeline.training.lanes import TokenSource
from pipeline.training.model import CharRNN

LANES, TOKENS = 64, 1 << 16
MAY_LOSE = 0.002  # of the loss, for int8 to be the default


def measured(model: CharRNN, vocab: Vocab, tokens: TokenSource) -> dict[str, Any]:
    """Mean nats a token in fp32 and int8 over the first TOKENS tokens of a text, and the precision to sample in.

    The text is read by up to LANES lanes side by side, each from a zero state. One too short to tell gives fp32.
    """
    lanes = min(LANES, (len(tokens) - 1) // 64)
    if lanes < 1:
        return {"precision": "fp32", "tokens": 0}
    length = min(TOKENS // lanes, (len(tokens) - 1) // lanes)
    text = tokens.read(0, lanes * length + 1).astype(np.int64)
    batch = np.stack([text[lane * length : (lane + 1) * length + 1] for lane in range(lanes)], axis=1)  # (T + 1, B)
    fp32, int8 = (Engine(model, vocab, [], precision).score(batch) for precision in ("fp32", "int8"))
    lost = int8 - fp32
    precision = "int8" if np.isfinite(lost) and lost <= MAY_LOSE * fp32 else "fp32"
    return {"precision": precision, "tokens": lanes * length, "nats_fp32": fp32, "nats_int8": int8}
