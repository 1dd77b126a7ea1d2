"""A proof file: a text as a model's probabilities leave it, and what a reader needs to know first.

docs/formats.md, "Proof files", has the bytes. They are checked here before anything is decoded.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from pipeline.engine.coding import ARITHMETIC, WEIGHT_BITS
from pipeline.errors import DamagedError, InputError
from pipeline.model.artifact import VOCAB, WEIGHTS, ModelArtifact

MAGIC = b"\x89URNPRF\n"  # no text begins like this, and a transfer as text changes it
FORMAT = 1
_INT8 = 8
# After the magic: format, arithmetic, precision, bits of the highest weight, streams, bytes of the
# text, its symbols, SHA-256 of the text, digest of the model, bytes of the model's name.
_FIXED = struct.Struct(">BBBBIQQ32s32sH")
_DIGEST = 32
_LENGTH = struct.Struct(">I")
_LONGEST_STREAM = (1 << 32) - 1
# Streams: each begins from a zero state, which costs some 40 bytes of what comes out.
_STREAM_SYMBOLS = 1 << 14
_FULL_LANES = 64
_LONG_STREAM_SYMBOLS = 1 << 18
_MOST_STREAMS = 1024


@dataclass(frozen=True, kw_only=True)
class ProofHeader:
    """What a proof file says of itself. `model` is the name and version that it was written with,
    for people; `model_digest` decides.
    """

    text_bytes: int
    symbols: int
    text_sha256: str
    model: str
    model_digest: str


@dataclass(frozen=True)
class ProofFile:
    header: ProofHeader
    streams: tuple[bytes, ...]


def model_digest(model: ModelArtifact) -> str:
    """SHA-256 over the digests of weights and vocabulary and the cell's name: all that decides
    probabilities. A registered model's config says more than its checkpoint's.
    """
    parts = [bytes.fromhex(model.digests[name]) for name in (WEIGHTS, VOCAB)]
    return hashlib.sha256(b"".join(parts) + model.about.model.cell.encode()).hexdigest()


def stream_lengths(symbols: int) -> list[int]:
    """How many symbols each stream has, by the text's length alone; the longer ones come first.

    A stream has 16,384 symbols at least and there are 64 streams, until streams of 262,144 are
    more.
    """
    short = min(_FULL_LANES, symbols // _STREAM_SYMBOLS)
    long = min(_MOST_STREAMS, symbols // _LONG_STREAM_SYMBOLS)
    return split_evenly(symbols, max(1, short, long))


def split_evenly(symbols: int, streams: int) -> list[int]:
    """Lengths of `streams` stretches; the first ones have one symbol more."""
    shortest = symbols // streams
    longer = symbols % streams
    return [shortest + 1] * longer + [shortest] * (streams - longer)


def to_bytes(header: ProofHeader, streams: list[bytes]) -> bytes:
    """A proof file. InputError for a stream of 4 GiB."""
    longest = max(len(stream) for stream in streams)
    if longest > _LONGEST_STREAM:
        raise InputError(
            f"a stream has {longest:,} bytes, a proof file takes 4 GiB; split the text."
        )
    name = header.model.encode()[: (1 << 16) - 1]
    fixed = _FIXED.pack(
        FORMAT,
        ARITHMETIC,
        _INT8,
        WEIGHT_BITS,
        len(streams),
        header.text_bytes,
        header.symbols,
        bytes.fromhex(header.text_sha256),
        bytes.fromhex(header.model_digest),
        len(name),
    )
    lengths = [_LENGTH.pack(len(stream)) for stream in streams]
    content = b"".join([MAGIC, fixed, name, *lengths, *streams])
    return content + hashlib.sha256(content).digest()


def from_bytes(data: bytes, url: str) -> ProofFile:
    """The parts of a proof file.

    InputError for another file or format, DamagedError for one that is cut short or changed.
    """
    if data[: len(MAGIC)] != MAGIC:
        # A file cut within the magic, too, says nothing of what it was.
        raise InputError(f"{url} is no proof file: it does not begin with {MAGIC!r}.")
    smallest = len(MAGIC) + _FIXED.size + _DIGEST
    if len(data) < smallest:
        raise DamagedError(f"{url} has {len(data)} bytes, a proof file {smallest}; copy it again.")
    fields = _FIXED.unpack_from(data, len(MAGIC))
    _check_format(fields[0], url)
    content = data[:-_DIGEST]
    if hashlib.sha256(content).digest() != data[-_DIGEST:]:
        raise DamagedError(f"{url} is cut short or changed: its digest differs; copy it again.")
    return _parsed(fields, content, url)


def _check_format(number: int, url: str) -> None:
    if number != FORMAT:
        raise InputError(
            f"{url} has format {number}, this program reads {FORMAT}; "
            "use the program's version that wrote it."
        )


def _parsed(fields: tuple, content: bytes, url: str) -> ProofFile:
    """A file whose digest is right. It may still be anybody's: nothing in it is believed."""
    arithmetic, precision, weight_bits, count, text_bytes, symbols, sha256, digest, name = fields[
        1:
    ]
    if (arithmetic, precision, weight_bits) != (ARITHMETIC, _INT8, WEIGHT_BITS):
        raise InputError(
            f"{url} was coded by arithmetic {arithmetic} in int{precision} with weights of "
            f"{weight_bits} bits, this program has {ARITHMETIC}, int{_INT8} and {WEIGHT_BITS}; "
            "use the program's version that wrote it."
        )
    at = len(MAGIC) + _FIXED.size
    model = content[at : at + name].decode(errors="replace")
    at += name
    start = at + count * _LENGTH.size
    if not 1 <= count <= max(1, symbols) or start > len(content):
        raise DamagedError(f"{url} names {count} streams for {symbols} symbols; write it again.")
    streams = []
    for (length,) in _LENGTH.iter_unpack(content[at:start]):
        streams.append(content[start : start + length])
        start += length
    if start != len(content):
        raise DamagedError(f"{url} has not the bytes that its streams need; write it again.")
    header = ProofHeader(
        text_bytes=text_bytes,
        symbols=symbols,
        text_sha256=sha256.hex(),
        model=model,
        model_digest=digest.hex(),
    )
    return ProofFile(header, tuple(streams))
