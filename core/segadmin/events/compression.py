"""Reading of compressed files, which are recognized by their first bytes instead of their names."""

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

#: Exceptions on reading a damaged or unreadable file.
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, zstandard.ZstdError)
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 1 << 17
#: First bytes of files that are neither text nor decompressed → description and advice.
_NO_TEXT = {
    b"PK\x03\x04": "a zip archive, as Excel workbooks are too. Unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook. Save the sheet as CSV",
    b"\xfd7zXZ\x00": "compressed with xz. Unpack it by unxz",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive. Unpack it",
    b"PAR1\x15": "Parquet. Add: --source parquet",
    b"SQLite format 3\x00": "a SQLite database. Name it sqlite:///PATH and add a --query",
}
#: Maximum depth of nested archives; an archive that contains itself would have no end.
_MAX_DEPTH = 3
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; gzip and Zstandard are decompressed.

    Raises:
        OSError: it cannot be opened, or is not text. Reading the returned file may raise any of :data:`DAMAGE`.
    """
    file = path.open("rb")
    head = file.peek(16)[:16]
    if description := _not_text(head):
        file.close()
        raise OSError(f"it is {description}")
    if head.startswith(_ZSTD):
        return _open_zstandard(file)
    if head.startswith(_GZIP):
        file.close()
        return cast(BinaryIO, gzip.open(path))
    return file


def contents(file: io.BufferedReader, depth: int = 0) -> Iterator[io.BufferedReader]:
    """Yield a file, decompressed if necessary; for a zip archive also the contents of its members.

    Raises:
        OSError: an archive needs a password. Also any of :data:`DAMAGE`, as on reading.
    """
    head = file.peek(16)
    opener = next((opener for mark, opener in _OPENERS.items() if head.startswith(mark)), None)
    yield file if opener is None else opener(file)
    if opener is not None or depth == _MAX_DEPTH or not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as member_file:
                    yield from contents(cast(io.BufferedReader, member_file), depth + 1)
    except RuntimeError as error:  # it needs a password or an unsupported method
        raise OSError(str(error)) from None


def _not_text(head: bytes) -> str | None:
    if _BZIP2.match(head):
        return "compressed with bzip2. Unpack it by bunzip2"
    return next((description for mark, description in _NO_TEXT.items() if head.startswith(mark)), None)


class _Zstandard(io.RawIOBase):
    """A reader of Zstandard frames that detects truncated files, which zstandard's own reader does not."""

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
