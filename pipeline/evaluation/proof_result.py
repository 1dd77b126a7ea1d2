"""What a proof file came to: its size beside the engine's own score, xz and zstd."""

from __future__ import annotations

import lzma
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluation.section import Section

_XZ_PRESET = 9 | lzma.PRESET_EXTREME  # xz -9e
_ZSTD_LEVEL = 19
_ZSTD_WINDOW_LOG = 27  # of zstd --long


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What a proof file's size is held against, in bytes.

    `scored` is the engine's plain score of the same streams in int8, `chars_per_sec` that score's
    rate, of one worker. Both are None where symbols outside the vocabulary have no unknown token,
    as no score covers those.
    """

    scored: float | None
    chars_per_sec: float | None
    xz: int
    zstd: int


@dataclass(frozen=True, kw_only=True)
class ProofResult:
    """A proof file. Sizes are bytes, `chars_per_sec` is of one worker.

    `file_bytes` are `coded_bytes`, those of the streams, and a header with lengths and digests.
    `outside` counts the text's symbols outside the vocabulary; each costs `outside_bits`, and the
    unknown token where the model has one. `model_bytes` are those of the model's three files, which
    a reader needs as well.
    """

    url: str
    model: str
    text_bytes: int
    symbols: int
    outside: int
    outside_bits: float
    streams: int
    coded_bytes: int
    file_bytes: int
    model_bytes: int
    chars_per_sec: float
    compared: Compared | None = None

    @property
    def bits_per_byte(self) -> float:
        return 8 * self.file_bytes / max(1, self.text_bytes)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "bits_per_byte": self.bits_per_byte}


def section(result: ProofResult) -> Section:
    """The part of a report on a proof file."""
    sizes: list[tuple[str, float]] = [
        ("proof file", result.file_bytes),
        ("its streams, without its header", result.coded_bytes),
    ]
    compared = result.compared
    if compared and compared.scored is not None:
        sizes.append(("the engine's own score of the same streams", compared.scored))
    sizes.append(("proof file and model", result.file_bytes + result.model_bytes))
    if compared:
        sizes += [("xz -9e", compared.xz), ("zstd -19 --long", compared.zstd)]
    sizes.append(("text", result.text_bytes))
    rows = [
        (what, f"{size:,.0f}", f"{8 * size / max(1, result.text_bytes):.4f}")
        for what, size in sizes
    ]
    return Section(
        title="Proof",
        lead=_lead(result),
        table=(("what", "bytes", "bits per byte"), *rows),
    )


def _lead(result: ProofResult) -> str:
    """How to read the table."""
    made = (
        f"The text, coded with the probabilities of {result.model} in {result.streams} streams, "
        "each from a zero state; --decode turns the file into the text again."
    )
    speed = f"Coded at {result.chars_per_sec:,.0f} characters a second on one core"
    if result.compared and result.compared.chars_per_sec:
        speed += f", scored at {result.compared.chars_per_sec:,.0f}"
    sentences = [made, f"{speed}."]
    if result.outside:
        sentences.append(
            f"{result.outside:,} symbols are outside the vocabulary; each costs "
            f"{result.outside_bits:.1f} bits, and the unknown token where the model has one."
        )
    return " ".join(sentences)


def xz_bytes(text: bytes) -> int:
    return len(lzma.compress(text, preset=_XZ_PRESET))


def zstd_bytes(text: bytes) -> int:
    """Bytes of `zstd -19 --long`. InputError without the extra `evaluate`."""
    try:
        import zstandard
    except ImportError:
        raise InputError(
            "a size beside zstd needs the extra evaluate: pip install 'unreasonable[evaluate]'."
        ) from None
    settings = zstandard.ZstdCompressionParameters.from_level(
        _ZSTD_LEVEL, window_log=_ZSTD_WINDOW_LOG, enable_ldm=True
    )
    return len(zstandard.ZstdCompressor(compression_params=settings).compress(text))
