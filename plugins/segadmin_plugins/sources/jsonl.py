"""Reading JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import ClassVar

import polars as pl

from segadmin.errors import DataError
from segadmin.events.source import UNREADABLE, UNREADABLE_ROW, Source


class JsonLines(Source):
    """One JSON object a line, in UTF-8; lines may have different keys. Lines that are none go to quarantine."""

    name: ClassVar[str] = "jsonl"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows, every cell as a string; a missing key is null."""
        path = Path(where)
        try:
            columns = _columns(path)
            with path.open("rb") as file:
                lines = (line for line in file if line.strip(b"\xef\xbb\xbf \t\r\n"))
                while batch := list(islice(lines, rows)):
                    yield frame_of(batch, columns)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def frame_of(lines: Sequence[bytes], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return a row for each line, with these columns, or else with every key that occurs."""
    rows = [_cells(line) for line in lines]
    names = columns if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))


def _columns(path: Path) -> list[str]:
    """Return every key that occurs, in order of appearance: all chunks must have the same columns."""
    keys: dict[str, None] = {}
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                keys |= dict.fromkeys(_cells(line))
    return list(keys)


def _cells(line: bytes) -> dict[str, str | None]:
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return {UNREADABLE: "bad_encoding", UNREADABLE_ROW: line.strip().decode("utf-8", "backslashreplace")}
    except (ValueError, RecursionError):  # also a number of thousands of digits, or thousands of brackets
        return {UNREADABLE: "not_json", UNREADABLE_ROW: _whole(line.decode("utf-8-sig").strip())}
    if not isinstance(found, dict):
        return {UNREADABLE: "not_json", UNREADABLE_ROW: _whole(line.decode("utf-8-sig").strip())}
    return cells_of(found)


def cells_of(told: Mapping[str, object]) -> dict[str, str | None]:
    """Return a JSON object's values as text: lists and objects as JSON, and null as none."""
    return {_whole(key): _cell(value) for key, value in told.items()}


def _cell(value: object) -> str | None:
    if value is None:
        return None
    return _whole(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _whole(text: str) -> str:
    """Write half of a surrogate pair, which a shop's cut of a text at an emoji leaves, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
