"""Whether a model may be sampled in int8: its loss in both precisions, on the same text, by the
engine itself.
"""

from __future__ import annotations

import numpy as np

from pipeline.corpora.shards import TokenSource
from pipeline.corpora.vocab import Vocab
from pipeline.engine.engine import engine_of
from pipeline.model.about import Precision, PrecisionCheck
from pipeline.model.network import CharRNN

LANES = 64
TOKENS = 1 << 16
_SHORTEST_LANE = 64  # tokens
MAY_LOSE = 0.002  # of the loss, for int8 to be the default


def check_precision(network: CharRNN, vocab: Vocab, tokens: TokenSource) -> PrecisionCheck:
    """Mean nats a token in fp32 and int8 over the first TOKENS tokens of a text, and the precision
    to sample in.

    The text is read by up to LANES lanes side by side, each from a zero state. One too short to
    tell gives fp32, and so does a cell whose output is not bounded.
    """
    predicted = len(tokens) - 1
    lanes = min(LANES, predicted // _SHORTEST_LANE)
    if lanes < 1 or not network.config.traits.bounded_output:
        return PrecisionCheck("fp32", 0)
    length = min(TOKENS // lanes, predicted // lanes)
    text = tokens.read(0, lanes * length + 1).astype(np.int64)
    stretches = [text[lane * length : (lane + 1) * length + 1] for lane in range(lanes)]
    batch = np.stack(stretches, axis=1)  # (T + 1, B)
    fp32 = engine_of(network, vocab, precision="fp32").score(batch)
    int8 = engine_of(network, vocab, precision="int8").score(batch)
    lost = int8 - fp32
    # A network that diverged scores nan or infinity, and then nothing was compared.
    may_be_int8 = np.isfinite(lost) and lost <= MAY_LOSE * fp32
    precision: Precision = "int8" if may_be_int8 else "fp32"
    return PrecisionCheck(precision, lanes * length, fp32, int8)
