"""Compressors: what the real tools give, cold and behind training text."""

from __future__ import annotations

import lzma
import subprocess
import sys
from pathlib import Path

import pyppmd
import pytest
import zstandard

from pipeline.errors import InputError
from pipeline.evaluation.compressors import (
    COMPRESSORS,
    Compressor,
    CompressorTask,
    check_installed,
    compressed,
)

TEXT = Path(lzma.__file__).read_bytes()[:6000]
TRAIN = Path(subprocess.__file__).read_bytes()[:30_000]


def test_what_they_write_can_be_read_back() -> None:
    readers = {
        "xz": lzma.decompress,
        "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
        "ppmd": lambda data: pyppmd.decompress(data, max_order=16, mem_size=1 << 30, variant="I"),
    }
    assert set(readers) == set(COMPRESSORS)
    for name, read in readers.items():
        packed = COMPRESSORS[name].compress(TEXT)
        assert read(packed) == TEXT
        assert len(packed) < len(TEXT) / 2


@pytest.mark.parametrize("name", COMPRESSORS)
def test_warm_is_what_the_text_adds_behind_training_text(name: str) -> None:
    compress = COMPRESSORS[name].compress
    score = compressed(COMPRESSORS[name], TRAIN, TEXT)
    assert score.cold_bytes == len(compress(TEXT))
    assert score.warm_bytes == len(compress(TRAIN + TEXT)) - len(compress(TRAIN))
    assert score.warm_bytes < score.cold_bytes
    assert score.train_bytes == len(TRAIN)
    assert score.cold_bits_per_byte == 8 * score.cold_bytes / len(TEXT)
    assert score.to_json()["warm_bits_per_byte"] == 8 * score.warm_bytes / len(TEXT)
    assert CompressorTask(name, TRAIN, TEXT).run()["warm_bytes"] == score.warm_bytes


def test_training_text_that_a_compressor_cannot_reach_is_left_out() -> None:
    seen: list[bytes] = []

    def compress(data: bytes) -> bytes:
        seen.append(data)
        return data

    near = Compressor("near", "", 10, compress)
    score = compressed(near, b"0123456789", b"abcd")
    assert seen == [b"abcd", b"456789abcd", b"456789"]
    assert (score.train_bytes, score.warm_bytes) == (6, 4)
    # Of a text longer than the window nothing before it is in reach.
    cold = compressed(near, b"0123456789", b"abcdefghijkl")
    assert (cold.train_bytes, cold.warm_bytes, cold.warm_bits_per_byte) == (0, None, None)


def test_without_training_text_there_is_no_warm_figure() -> None:
    score = compressed(COMPRESSORS["xz"], b"", TEXT)
    assert (score.warm_bytes, score.train_bytes) == (None, 0)
    assert score.to_json()["warm_bits_per_byte"] is None


def test_zstd_looks_back_as_far_as_long_lets_it() -> None:
    noise = bytes(zstandard.ZstdCompressor(level=1).compress(TRAIN))
    apart = noise + bytes(9 << 20) + noise  # further than level 19's own window of 8 MiB
    assert len(COMPRESSORS["zstd"].compress(apart)) < 1.2 * len(noise)


@pytest.mark.parametrize("library", ["zstandard", "pyppmd"])
def test_a_library_that_is_missing_is_one_line(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_installed()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=r"needs the extra evaluate: pip install 'unreasonable\["):
        check_installed()
