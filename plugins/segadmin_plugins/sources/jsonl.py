"""Reading JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from segadmin.errors import DataError
from segadmin.events.source import Source


class JsonLines(Source):
    """One JSON object a line, in UTF-8; lines may have different keys."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson")

    def chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows, every cell as a string; a missing key is null."""
        columns = _columns(path)
        try:
            with path.open(encoding="utf-8-sig") as file:
                numbered = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
                while batch := list(islice(numbered, rows)):
                    cells = [_cells(path, number, line) for number, line in batch]
                    yield pl.DataFrame(cells, schema=dict.fromkeys(columns, pl.String))
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8: {error}. Convert it: iconv -f GB18030 -t UTF-8") from None


def _columns(path: Path) -> list[str]:
    """Return every key that occurs, in order of appearance: all chunks must have the same columns."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            keys: dict[str, None] = {}
            for number, line in enumerate(file, start=1):
                if line.strip():
                    keys |= dict.fromkeys(_cells(path, number, line))
            return list(keys)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}. Convert it: iconv -f GB18030 -t UTF-8") from None


def _cells(path: Path, number: int, line: str) -> dict[str, str | None]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or thousands of brackets
        raise DataError(f"{path}, line {number}: not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}, line {number}: {line.strip()[:40]!r} is not a JSON object.")
    return {_whole(key): _cell(value) for key, value in found.items()}


def _cell(value: object) -> str | None:
    if value is None:
        return None
    return _whole(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _whole(text: str) -> str:
    """Write half of a surrogate pair, which a shop's cut of a text at an emoji leaves, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
