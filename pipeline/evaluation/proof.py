"""A score that need not be believed: a text coded with a model's own probabilities, as a file that
a fresh process turns into the text again.

    prove     text, model -> proof file, and its size beside the engine's score, xz and zstd
    decode    proof file, model -> text

Streams are coded side by side, some of them a task. Neither how many lie in one task nor who runs
it changes a byte: engine/coding.py.
"""

from __future__ import annotations

import base64
import concurrent.futures
import lzma
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline import storage
from pipeline.corpora.vocab import Symbols, Unit, symbols_of
from pipeline.engine.coding import (
    ALTERNATIVES,
    WEIGHT_BITS,
    SymbolCodes,
    decode_streams,
    encode_streams,
    scored_bits,
)
from pipeline.engine.engine import Engine
from pipeline.engine.lanes import Writable
from pipeline.engine.weights import Weights
from pipeline.errors import DamagedError, InputError
from pipeline.evaluation.proof_file import (
    ProofFile,
    ProofHeader,
    from_bytes,
    model_digest,
    split_evenly,
    stream_lengths,
    to_bytes,
)
from pipeline.evaluation.section import Section
from pipeline.model.artifact import ModelArtifact, load_weights
from pipeline.progress import Progress
from pipeline.tasks import Runner, run_here

LANES = 32  # streams of one task: half of a text of 64, so that two workers share it
_MAX_PROOF_BYTES = 1 << 36
_ZSTD_LEVEL = 19
_ZSTD_WINDOW = 27  # as in zstd -19 --long


@dataclass(frozen=True, kw_only=True)
class ProofResult:
    """A proof file, and what its size is to be held against. Sizes are bytes.

    `scored_bytes` is the engine's plain score of the same streams in int8; None where symbols
    outside the vocabulary have no unknown token, which no score covers. `outside` counts symbols
    outside the vocabulary. Rates are of one worker.
    """

    url: str
    model: str
    text_bytes: int
    symbols: int
    outside: int
    outside_bits: float  # a symbol, beside what the unknown token costs
    streams: int
    file_bytes: int
    scored_bytes: float | None
    model_bytes: int
    xz_bytes: int
    zstd_bytes: int
    chars_per_sec: float
    scoring_chars_per_sec: float

    @property
    def bits_per_byte(self) -> float:
        return 8 * self.file_bytes / max(1, self.text_bytes)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "bits_per_byte": self.bits_per_byte}


def prove(
    model: ModelArtifact, text: bytes, url: str, *, run: Runner = run_here, lanes: int = LANES
) -> ProofResult:
    """Write a text's proof file to `url`. Any bytes are a text.

    InputError for a model whose weights are no numbers, and without the extra `evaluate`.
    """
    zstd_bytes = _zstd_bytes(text)  # first, as it may be missing
    unit = _unit(model)
    symbols = _symbols_of(text, unit)
    lengths = stream_lengths(len(symbols))
    bounds = np.cumsum([0, *lengths])
    stretches = [symbols[bounds[n] : bounds[n + 1]] for n in range(len(lengths))]
    tasks = [_Encoding(model, group) for group in _groups(stretches, lanes)]
    sizes = [sum(map(len, task.streams)) for task in tasks]
    coded = [_Encoded(**value) for value in _run(run, _encode, tasks, sizes, "code")]
    streams = [base64.b64decode(stream) for part in coded for stream in part.streams]
    header = ProofHeader(
        text_bytes=len(text),
        symbols=len(symbols),
        text_sha256=storage.sha256_bytes(text),
        model=_name(model),
        model_digest=model_digest(model),
    )
    data = to_bytes(header, streams)
    storage.write_bytes(url, data)
    scores = [part.scored_bits for part in coded]
    has_unknown = None in SymbolCodes.__annotations__ or None  # replaced below
    return ProofResult(
        url=url,
        model=_name(model),
        text_bytes=len(text),
        symbols=len(symbols),
        outside=sum(part.outside for part in coded),
        outside_bits=0.0,
        streams=len(streams),
        file_bytes=len(data),
        scored_bytes=None,
        model_bytes=sum(map(len, model.files.values())),
        xz_bytes=len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)),
        zstd_bytes=zstd_bytes,
        chars_per_sec=_rate(len(symbols), sum(part.coding_s for part in coded)),
        scoring_chars_per_sec=_rate(len(symbols), sum(part.scoring_s for part in coded)),
    )
