"""Which columns of a Parquet file are UUIDs, or other bytes of a fixed length.

Polars reads both as bytes, as it does text that old writers did not mark as such; the footer of the file distinguishes
them. It is Thrift in the compact protocol, of which the schema is the second field:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MAGIC = b"PAR1"
_FIXED_LENGTH = 7
_UUID = 14
#: Fields of FileMetaData and of SchemaElement.
_SCHEMA = 2
_TYPE, _NAME, _CHILDREN, _LOGICAL_TYPE = 1, 4, 5, 10


def fixed_length_columns(path: Path) -> dict[str, bool]:
    """Return the columns of fixed-length bytes, each with whether it holds UUIDs.

    Args:
        path: a Parquet file; a damaged one gives no columns, since reading it will fail anyway.
    """
    try:
        elements = _Thrift(_footer(path)).read_struct(last=_SCHEMA)[_SCHEMA]
        return {
            element[_NAME].decode(): _UUID in element.get(_LOGICAL_TYPE, {})
            for element in _top_level(elements)
            if element.get(_TYPE) == _FIXED_LENGTH
        }
    except (IndexError, KeyError, ValueError, RecursionError, struct.error):
        return {}


def _footer(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read()
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or length > size - 8:
            return b""
        file.seek(size - 8 - length)
        return file.read(length)


def _top_level(elements: list[dict[int, Any]]) -> list[dict[int, Any]]:
    """Return the columns of a schema: the elements after the root that are not nested."""
    columns, index = [], 1
    for _ in range(elements[0][_CHILDREN]):
        columns.append(elements[index])
        inside = 1
        while inside:
            inside += elements[index].get(_CHILDREN, 0) - 1
            index += 1
    return columns


class _Thrift:
    """Reads Thrift's compact protocol."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0
        self.readers: dict[int, Callable[[], Any]] = {
            3: self._byte,
            **dict.fromkeys((4, 5, 6), self._signed),
            7: self._double,
            8: self._binary,
            **dict.fromkeys((9, 10), self._list),
            11: self._map,
            12: self.read_struct,
        }

    def read_struct(self, last: int | None = None) -> dict[int, Any]:
        """Return a struct's values by field, up to the field ``last``."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15)
            if number == last:
                break
        return fields

    def _value(self, kind: int) -> Any:
        if kind in {1, 2}:  # the value of such a field is its type
            return kind == 1
        return self.readers[kind]()

    def _double(self) -> Any:
        return struct.unpack("<d", self._bytes(8))[0]

    def _binary(self) -> bytes:
        return self._bytes(self._unsigned())

    def _list(self) -> list[Any]:
        head = self._byte()
        length = head >> 4 if head >> 4 < 15 else self._unsigned()
        return [self._item(head & 15) for _ in range(length)]

    def _map(self) -> list[Any]:
        length = self._unsigned()
        kinds = self._byte() if length else 0
        return [(self._item(kinds >> 4), self._item(kinds & 15)) for _ in range(length)]

    def _item(self, kind: int) -> Any:
        return self._byte() == 1 if kind in {1, 2} else self._value(kind)

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _bytes(self, length: int) -> bytes:
        self.place += length
        if self.place > len(self.content):
            raise IndexError(self.place)
        return self.content[self.place - length : self.place]
