"""Reading compressed files, known by their first bytes whatever they are called."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

#: What reading a file raises that is damaged or cannot be read.
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, zstandard.ZstdError)
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
#: An archive may hold archives; but one that holds itself has no end.
_DEEPEST = 3
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
        return _open_zstandard(file)
    if head.startswith(_GZIP):
        file.close()
        return cast(BinaryIO, gzip.open(path))
    return file


def contents(file: io.BufferedReader, depth: int = 0) -> Iterator[io.BufferedReader]:
    """Yield a file, unpacked if it is compressed; and, if it is a zip archive, what the files in it yield.

    Raises:
        OSError: an archive needs a password. Also, as reading does, any of :data:`DAMAGE`.
    """
    head = file.peek(16)
    opener = next((opener for mark, opener in _OPENERS.items() if head.startswith(mark)), None)
    yield file if opener is None else opener(file)
    if opener is not None or depth == _DEEPEST or not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as inner:
                    yield from contents(cast(io.BufferedReader, inner), depth + 1)
    except RuntimeError as error:  # it needs a password, or is compressed in another way
        raise OSError(str(error)) from None


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


def _open_zstandard(file: BinaryIO) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, _Zstandard(file)))


_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    _GZIP: gzip.open,
    _ZSTD: _open_zstandard,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
