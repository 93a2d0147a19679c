"""Reading compressed files, known by their first bytes whatever they are called."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

#: What reading a file raises that is damaged or cannot be read.
DAMAGE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 1 << 17


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; gzip and Zstandard are unpacked on the way.

    Raises:
        OSError: it cannot be opened. Reading what is returned may raise any of :data:`DAMAGE`.
    """
    file = path.open("rb")
    head = file.peek(4)[:4]
    if head == _ZSTD:
        return io.BufferedReader(cast(io.RawIOBase, _Zstandard(file)))
    if head.startswith(_GZIP):
        file.close()
        return cast(BinaryIO, gzip.open(path))
    return file


class _Zstandard(io.RawIOBase):
    """The content of a file of Zstandard frames; zstandard's own reader takes a file cut short for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._unpacked = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._unpacked:
            packed = (self._frame.unused_data if self._frame.eof else b"") or self._file.read(_READ_BYTES)
            if not packed:
                if not self._frame.eof:
                    raise EOFError("the file is cut short")
                return 0
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._unpacked = memoryview(self._frame.decompress(packed))
        size = min(len(buffer), len(self._unpacked))
        buffer[:size] = self._unpacked[:size]
        self._unpacked = self._unpacked[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
