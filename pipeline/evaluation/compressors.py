"""Compressors on the same bytes as the models: the text by itself (cold), and behind training text
(warm).

Warm is the bytes of train + text minus the bytes of train alone: what the text adds for a
compressor that has read the training text, of which each sees as much as its window reaches.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import InputError

_NEEDS = "needs the extra evaluate: pip install 'unreasonable[evaluate]'"
_ZSTD_WINDOW_LOG = 27  # what --long means without a number
_PPMD_ORDER = 16
_PPMD_MEMORY = 1 << 30


@dataclass(frozen=True)
class Compressor:
    """A compressor: its name, its settings in words, and the bytes that it can look back to."""

    name: str
    settings: str
    reach: int
    compress: Callable[[bytes], bytes]


@dataclass(frozen=True)
class CompressorScore:
    """Bytes of the compressed text. Warm ones are None without training text; `train_bytes` were
    read before.
    """

    name: str
    settings: str
    text_bytes: int
    cold_bytes: int
    warm_bytes: int | None
    train_bytes: int

    @property
    def cold_bits_per_byte(self) -> float:
        return 8 * self.cold_bytes / self.text_bytes

    @property
    def warm_bits_per_byte(self) -> float | None:
        return None if self.warm_bytes is None else 8 * self.warm_bytes / self.text_bytes

    def to_json(self) -> dict[str, Any]:
        figures = {
            "cold_bits_per_byte": self.cold_bits_per_byte,
            "warm_bits_per_byte": self.warm_bits_per_byte,
        }
        return asdict(self) | figures


@dataclass(frozen=True)
class CompressorTask:
    """One compressor on a text, behind as much of `train`'s end as it reaches."""

    name: str
    train: bytes
    text: bytes

    def run(self) -> dict[str, Any]:
        """The fields of its CompressorScore."""
        return asdict(compressed(COMPRESSORS[self.name], self.train, self.text))


def compressed(compressor: Compressor, train: bytes, text: bytes) -> CompressorScore:
    """A text compressed cold and, where there is training text, warm."""
    cold = len(compressor.compress(text))
    # Training text beyond the window would cost time, and help nothing.
    used = max(0, min(len(train), compressor.reach - len(text)))
    warm = None
    if used:
        before = train[len(train) - used :]
        warm = len(compressor.compress(before + text)) - len(compressor.compress(before))
    return CompressorScore(compressor.name, compressor.settings, len(text), cold, warm, used)


def check_installed() -> None:
    """Raise InputError unless the libraries of all compressors are there."""
    _zstandard()
    _pyppmd()


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)


def _zstd(data: bytes) -> bytes:
    zstandard = _zstandard()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, window_log=_ZSTD_WINDOW_LOG, enable_ldm=True, source_size=len(data)
    )
    return bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(data))


def _ppmd(data: bytes) -> bytes:
    return bytes(
        _pyppmd().compress(data, max_order=_PPMD_ORDER, mem_size=_PPMD_MEMORY, variant="I")
    )


def _zstandard() -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise InputError(f"zstd {_NEEDS}") from None
    return zstandard


def _pyppmd() -> Any:
    try:
        import pyppmd
    except ModuleNotFoundError:
        raise InputError(f"ppmd {_NEEDS}") from None
    return pyppmd


_ALL = (
    Compressor("xz", "xz -9e: a dictionary of 64 MiB", 64 << 20, _xz),
    Compressor("zstd", "zstd -19 --long: a window of 128 MiB", 1 << _ZSTD_WINDOW_LOG, _zstd),
    # It has no window: when its memory is full it forgets all. 11 MB of source code took between
    # 12 and 24 bytes of memory a byte, so it is never given more than a 24th.
    Compressor("ppmd", "PPMd variant I, order 16, 1 GiB of memory", _PPMD_MEMORY // 24, _ppmd),
)
COMPRESSORS = {compressor.name: compressor for compressor in _ALL}
