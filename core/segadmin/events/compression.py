"""Reading compressed files, known by their first bytes whatever they are called."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

#: What reading a file raises that is damaged or cannot be read.
DAMAGE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 1 << 17
#: What files are that are no text and are not unpacked, by their first bytes, and what to do with each.
_NO_TEXT = {
    b"PK\x03\x04": "a zip archive, as Excel workbooks are too. Unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook. Save the sheet as CSV",
    b"\xfd7zXZ\x00": "compressed with xz. Unpack it by unxz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive. Unpack it",
    b"PAR1\x15": "Parquet. Add: --source parquet",
    b"SQLite format 3\x00": "a SQLite database. Name it sqlite:///PATH and add a --query",
}
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; gzip and Zstandard are unpacked on the way.

    Raises:
        OSError: it cannot be opened, or is no text. Reading what is returned may raise any of :data:`DAMAGE`.
    """
    file = path.open("rb")
    head = file.peek(16)[:16]
    if what := _not_text(head):
        file.close()
        raise OSError(f"it is {what}")
    if head.startswith(_ZSTD):
        return io.BufferedReader(cast(io.RawIOBase, _Zstandard(file)))
    if head.startswith(_GZIP):
        file.close()
        return cast(BinaryIO, gzip.open(path))
    return file


def _not_text(head: bytes) -> str | None:
    if _BZIP2.match(head):
        return "compressed with bzip2. Unpack it by bunzip2"
    return next((what for mark, what in _NO_TEXT.items() if head.startswith(mark)), None)


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
