"""Compressed streams are read to the end of the last, or refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest

from pipeline.corpora.decompression import decompressed

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "gzip": gzip.compress,
}
TEXT = bytes(range(256)) * 3000  # more than is read at once


def read(data: bytes, compression: str | None, size: int = 10_007) -> bytes:
    with decompressed(io.BytesIO(data), compression) as file:
        return b"".join(iter(lambda: file.read(size), b""))


@pytest.mark.parametrize("compression", COMPRESS)
def test_streams_one_behind_the_other_are_one_text(compression: str) -> None:
    pack = COMPRESS[compression]
    assert read(pack(TEXT), compression) == TEXT
    many = b"".join(pack(TEXT[start : start + 999]) for start in range(0, len(TEXT), 999))
    assert read(many, compression) == TEXT
    assert read(pack(TEXT) + pack(b"") + pack(b"end"), compression) == TEXT + b"end"
    assert read(pack(TEXT) + bytes(300_000), compression) == TEXT
    assert read(pack(TEXT) + bytes(8) + pack(b"end") + bytes(4), compression) == TEXT + b"end"


@pytest.mark.parametrize("compression", COMPRESS)
def test_what_is_no_stream_behind_one_is_refused(compression: str) -> None:
    pack = COMPRESS[compression]
    for behind in (b"garbage", bytes(4) + b"garbage", pack(b"end")[:-3], pack(b"end")[1:]):
        with pytest.raises((OSError, EOFError, lzma.LZMAError)):
            read(pack(TEXT) + behind, compression)
    with pytest.raises((OSError, EOFError, lzma.LZMAError)):
        read(pack(TEXT)[: len(pack(TEXT)) // 2], compression)
    with pytest.raises((OSError, EOFError, lzma.LZMAError)):
        read(b"garbage", compression)


def test_what_is_not_compressed_is_itself() -> None:
    assert read(TEXT, None) == TEXT
