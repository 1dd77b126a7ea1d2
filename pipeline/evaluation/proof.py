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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from pipeline import storage
from pipeline.corpora.vocab import Symbols, Unit
from pipeline.engine.coding import (
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
from pipeline.evaluation.proof_result import Compared, ProofResult, xz_bytes, zstd_bytes
from pipeline.model.artifact import ModelArtifact, load_weights, parse_vocab
from pipeline.progress import Progress
from pipeline.tasks import Runner, run_here

LANES = 32  # streams of one task: half of a text of 64, so that two workers share it
_MAX_PROOF_BYTES = 1 << 36
_Part = TypeVar("_Part")


def prove(
    model: ModelArtifact,
    text: bytes,
    url: str,
    *,
    run: Runner = run_here,
    lanes: int = LANES,
    compare: bool = True,
) -> ProofResult:
    """Write a text's proof file to `url`. Any bytes are a text.

    `compare` scores and compresses the text as well, which takes longer than coding it. InputError
    for a model whose weights are no numbers, and for a comparison without the extra `evaluate`.
    """
    zstd = zstd_bytes(text) if compare else 0  # first, as it may be missing
    codes = SymbolCodes(parse_vocab(model.files, model.uri))
    symbols = any_symbols(text, codes.vocab.unit)
    tasks = _encodings(symbols, model, lanes, compare)
    sizes = [sum(map(len, task.streams)) for task in tasks]
    parts = [_Encoded(**part) for part in _run(run, _encode, tasks, sizes, "code")]
    streams = [base64.b64decode(stream) for part in parts for stream in part.streams]
    header = ProofHeader(
        text_bytes=len(text),
        symbols=len(symbols),
        text_sha256=storage.sha256_bytes(text),
        model=_name(model),
        model_digest=model_digest(model),
    )
    data = to_bytes(header, streams)
    storage.write_bytes(url, data)
    return ProofResult(
        url=url,
        model=header.model,
        text_bytes=len(text),
        symbols=len(symbols),
        outside=sum(part.outside for part in parts),
        outside_bits=codes.rule.bits,
        streams=len(streams),
        coded_bytes=sum(map(len, streams)),
        file_bytes=len(data),
        model_bytes=sum(map(len, model.files.values())),
        chars_per_sec=_rate(len(symbols), [part.coding_s for part in parts]),
        compared=_compared(text, len(symbols), parts, zstd) if compare else None,
    )


def decode(url: str, model: ModelArtifact, *, run: Runner = run_here, lanes: int = LANES) -> bytes:
    """The text of a proof file.

    InputError for another file, another model or another arithmetic, DamagedError for a file that
    is cut short or changed.
    """
    proof = open_proof(url, model)
    header = proof.header
    tasks = _decodings(proof, url, model, lanes)
    sizes = [sum(task.lengths) for task in tasks]
    texts = [base64.b64decode(part["text"]) for part in _run(run, _decode, tasks, sizes, "decode")]
    text = b"".join(texts)
    if storage.sha256_bytes(text) != header.text_sha256:
        raise DamagedError(
            f"{url} decodes to another text than it was made from: its {header.text_bytes:,} bytes "
            "have another digest. Write it again with this version of the program."
        )
    return text


def open_proof(url: str, model: ModelArtifact) -> ProofFile:
    """A proof file that is whole and was written with this model. Raises what `decode` raises."""
    proof = from_bytes(storage.read_given(url, _MAX_PROOF_BYTES, "proof file"), url)
    header = proof.header
    if header.model_digest != model_digest(model):
        raise InputError(
            f"{url} was written with {header.model} (digest {header.model_digest[:12]}), not with "
            f"{_name(model)} (digest {model_digest(model)[:12]}); give --model the one it was "
            "written with."
        )
    return proof


def threads(workers: int) -> Runner:
    """Run tasks on threads of this process: the compiled loop lets go of Python's lock."""
    if workers < 1:
        raise InputError(f"{workers} workers cannot do anything; give at least 1.")

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            indices = {pool.submit(function, task): n for n, task in enumerate(tasks)}
            try:
                for future in concurrent.futures.as_completed(indices):
                    yield indices[future], future.result()
            finally:
                # After an error, what has not begun does not begin.
                pool.shutdown(wait=True, cancel_futures=True)

    return run


@dataclass(frozen=True)
class _Encoding:
    """A task: streams to code, and to score."""

    model: ModelArtifact
    streams: list[Symbols]
    compare: bool


@dataclass(frozen=True)
class _Encoded:
    """Its result: streams in base64, as results of tasks are JSON."""

    streams: list[str]
    outside: int
    scored_bits: float | None
    coding_s: float
    scoring_s: float


@dataclass(frozen=True)
class _Decoding:
    """A task: streams to decode, and how many symbols each has."""

    url: str
    model: ModelArtifact
    streams: list[bytes]
    lengths: list[int]


def _encode(task: _Encoding) -> dict[str, Any]:
    engine = _open(task.model)
    # The loops are compiled, or read from disk, before time is taken.
    beginnings = [stream[:2] for stream in task.streams[:1]]
    encode_streams(engine, beginnings)
    begun = time.perf_counter()
    streams = encode_streams(engine, task.streams)
    coded = time.perf_counter()
    bits = None
    scoring_s = 0.0
    if task.compare:
        scored_bits(engine, beginnings)
        scoring = time.perf_counter()
        bits = scored_bits(engine, task.streams)
        scoring_s = time.perf_counter() - scoring
    # Stream by stream: codes take eight times the bytes of a text.
    codes = SymbolCodes(engine.writable.vocab)
    outside = sum(int((codes.codes(stream) < 0).sum()) for stream in task.streams)
    encoded = [base64.b64encode(stream).decode() for stream in streams]
    return asdict(_Encoded(encoded, outside, bits, coded - begun, scoring_s))


def _decode(task: _Decoding) -> dict[str, Any]:
    engine = _open(task.model)
    try:
        streams = decode_streams(engine, task.streams, task.lengths)
        text = b"".join(any_text(stream, engine.writable.vocab.unit) for stream in streams)
    except (DamagedError, UnicodeError) as error:
        # Its digests are right, so nothing happened to it on its way.
        raise DamagedError(
            f"{task.url} says that this model wrote it, and cannot be decoded: {error} "
            "Write it again with this version of the program."
        ) from None
    return {"text": base64.b64encode(text).decode()}


def _encodings(
    symbols: Symbols, model: ModelArtifact, lanes: int, compare: bool
) -> list[_Encoding]:
    lengths = stream_lengths(len(symbols))
    starts = np.cumsum([0, *lengths])
    streams = [symbols[starts[n] : starts[n + 1]] for n in range(len(lengths))]
    return [_Encoding(model, group, compare) for group in _groups(streams, lanes)]


def _compared(text: bytes, symbols: int, parts: list[_Encoded], zstd: int) -> Compared:
    scores = [part.scored_bits for part in parts if part.scored_bits is not None]
    has_score = len(scores) == len(parts)
    return Compared(
        scored=sum(scores) / 8 if has_score else None,
        chars_per_sec=_rate(symbols, [part.scoring_s for part in parts]) if has_score else None,
        xz=xz_bytes(text),
        zstd=zstd,
    )


def _decodings(proof: ProofFile, url: str, model: ModelArtifact, lanes: int) -> list[_Decoding]:
    lengths = _groups(split_evenly(proof.header.symbols, len(proof.streams)), lanes)
    streams = _groups(proof.streams, lanes)
    return [
        _Decoding(url, model, group, counts) for group, counts in zip(streams, lengths, strict=True)
    ]


def _open(model: ModelArtifact) -> Engine:
    """The model's engine in int8."""
    loaded = load_weights(model.files, model.uri)
    weights = Weights(loaded.about.model, loaded.weights, "int8")
    return Engine(weights, Writable.of(loaded.vocab, loaded.about.first_tokens))


def any_symbols(text: bytes, unit: Unit) -> Symbols:
    """Any bytes as symbols. Among characters, a byte that is no UTF-8 is U+DC00 plus the byte."""
    if unit == "byte":
        return np.frombuffer(text, np.uint8)
    characters = text.decode(errors="surrogateescape")
    return np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32)


def any_text(symbols: Symbols, unit: Unit) -> bytes:
    """What `any_symbols` made symbols of. UnicodeError for symbols that it does not make."""
    if unit == "byte":
        return symbols.tobytes()
    characters = symbols.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return characters.encode(errors="surrogateescape")


def _run(
    run: Runner, function: Callable[[Any], Any], tasks: list[Any], sizes: list[int], what: str
) -> list[dict[str, Any]]:
    """Results in the order of the tasks."""
    progress = Progress(what, sum(sizes), "characters")
    results: dict[int, dict[str, Any]] = {}
    for index, result in run(function, tasks):
        results[index] = result
        progress.add(sizes[index])
    progress.finish()
    return [results[index] for index in range(len(tasks))]


def _groups(parts: Sequence[_Part], size: int) -> list[list[_Part]]:
    return [list(parts[start : start + size]) for start in range(0, len(parts), size)]


def _name(model: ModelArtifact) -> str:
    return f"{model.name} version {model.version}"


def _rate(symbols: int, seconds: list[float]) -> float:
    """Characters a second of one worker."""
    return symbols / max(sum(seconds), 1e-9)
