"""Compressed streams, read strictly to the end of the last of them.

Python's own readers of bz2 and xz take whatever is behind a stream, and is not the beginning of
another, for padding. Of a file whose second stream is damaged the rest would be lost without a
word.
"""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
from collections.abc import Callable
from typing import IO, Any

import fsspec
import pyarrow as pa

_READ_BYTES = 256 << 10
_DECODERS: dict[str, Callable[[], Any]] = {
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
    "lzma": lzma.LZMADecompressor,  # it tells the older format by its beginning
}


def decompressed(file: Any, compression: str | None) -> Any:
    """The decompressed stream, as a context manager.

    Concatenated members and frames are read to the end, as parallel compressors write them. One
    that is cut off or damaged raises, and so does anything but zeros behind the last.
    """
    if compression == "zstd":  # which fsspec reads only with a package more; pyarrow is here anyway
        return contextlib.closing(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))
    if compression in _DECODERS:
        return io.BufferedReader(_Streams(file, _DECODERS[compression]), _READ_BYTES)
    if compression:
        return fsspec.compression.compr[compression](file, mode="rb")
    return contextlib.closing(file)


class _Streams(io.RawIOBase):
    """Streams of one format, one behind the other, as one."""

    def __init__(self, file: IO[bytes], decoder: Callable[[], Any]) -> None:
        self.file = file
        self.new_decoder = decoder
        self.decoder = decoder()
        self.ahead = b""  # what was read and belongs to the stream that begins

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            if self.decoder.eof and not self._begin_next():
                return 0
            data = self.decoder.decompress(self._more(), len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _more(self) -> bytes:
        """What the decoder needs next: nothing while it has something left to give."""
        if not self.decoder.needs_input:
            return b""
        given = self.ahead or self.file.read(_READ_BYTES)
        self.ahead = b""
        if not given:
            raise EOFError("it ends within a compressed stream")
        return given

    def _begin_next(self) -> bool:
        """Begin with the stream behind the one that has ended; false where there is none."""
        given = self.decoder.unused_data
        # xz pads streams with zeros to multiples of four bytes; tapes pad files.
        while not given.strip(b"\0"):
            given = self.file.read(_READ_BYTES)
            if not given:
                return False
        self.decoder = self.new_decoder()
        self.ahead = given.lstrip(b"\0")
        return True
