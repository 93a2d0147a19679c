"""Whose rows those in quarantine are.

A row is kept as the source had it, so the user is in the column that the import's mapping says. Imports from before
mappings were kept, and files of items, do not say: there, a cell that is the user's id decides. A row that could not be
read has no cells: there, the id has to stand in it as a word of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from segadmin.events.elements import each_element
from segadmin.events.identifiers import plain_id
from segadmin.events.keys import parse_key, show_key, user_key
from segadmin.events.mapping import Mapping as Reading
from segadmin.events.nested import base_of, with_paths
from segadmin.events.source import UNREADABLE, UNREADABLE_ROW

#: The columns of rows and whose they are.
OWNED = {"import_id": pl.Int64, "line": pl.Int64, "user_key": pl.Int64}
_PLACE = "segadmin:place"


def kept_mapping(mapping: Reading, secret: bytes) -> dict[str, Any]:
    """Return a mapping as an import keeps it: with the pseudonym of a user whom it says all rows belong to."""
    kept = mapping.model_dump(mode="json")
    if "user" in mapping.constants:
        kept["constants"]["user"] = show_key(user_key(secret, plain_id(mapping.constants["user"])))
    return kept


def rows_of_users(
    quarantine: pl.LazyFrame,
    mappings: Mapping[int, Mapping[str, Any]],
    names: Mapping[int, str],
    find: Callable[[str], int | None],
) -> pl.DataFrame:
    """Return the rows that belong to some users.

    Args:
        quarantine: the rows in quarantine.
        mappings: of imports, by number, as :func:`kept_mapping` returns them; empty where it is not known.
        names: the users' ids as they are stored, by key.
        find: returns the key of the user whom a cell names; ``None`` where it is another's.

    Returns:
        ``import_id``, ``line`` and ``user_key``.
    """
    parts, ids = [], sorted(names.values())
    for number in quarantine.select(pl.col("import_id").unique().sort()).collect()["import_id"]:
        rows = quarantine.filter(pl.col("import_id") == number).select("import_id", "line", "row")
        mapping = mappings.get(number)
        if not mapping:
            parts.append(_by_any_cell(rows, ids, find))
        elif "user" in mapping["constants"]:
            key = parse_key(mapping["constants"]["user"])
            parts.append(rows.filter(key in names).select("import_id", "line", user_key=pl.lit(key)).collect())
        else:
            mapped, others = _by_columns(rows, mapping, find)
            parts += [mapped, _by_any_cell(others, ids, find)]
    return pl.concat([pl.DataFrame(schema=OWNED), *parts]).unique(["import_id", "line"], maintain_order=True)


def _by_columns(
    rows: pl.LazyFrame, mapping: Mapping[str, Any], find: Callable[[str], int | None]
) -> tuple[pl.DataFrame, pl.LazyFrame]:
    """Return the rows where a column of the mapping names one of the users, and the rows that have no such column."""
    paths = [mapping["columns"].get("user", "user"), *mapping.get("fallbacks", {}).get("user", ())]
    row = pl.col("row")
    is_unread = row.str.contains(f'"{UNREADABLE}":"', literal=True)
    first = rows.filter(~is_unread).head(1).collect()["row"]
    columns = list(json.loads(first.item())) if len(first) else []
    bases = list(dict.fromkeys(base for path in paths if (base := base_of(path, columns)) is not None))
    if not bases:
        return pl.DataFrame(schema=OWNED), rows
    has_it = pl.any_horizontal(
        row.str.contains(json.dumps(base, ensure_ascii=False) + ":", literal=True) for base in bases
    )
    read = rows.filter(has_it & ~is_unread).collect()
    cells = read.select(row.str.json_decode(pl.Struct(dict.fromkeys(bases, pl.String))).struct.unnest())
    cells = cells.with_columns(pl.int_range(pl.len()).alias(_PLACE))
    if mapping.get("each"):
        cells = each_element(cells, mapping["each"])
    cells = with_paths(cells, paths)
    named = pl.concat([cells.select(_PLACE, cell=path) for path in paths if path in cells.columns]).drop_nulls("cell")
    keys = {cell: find(cell) for cell in named["cell"].unique()}
    mine = named.select(_PLACE, user_key=pl.Series([keys[cell] for cell in named["cell"]], dtype=pl.Int64)).drop_nulls()
    owned = read.select("import_id", "line")[mine[_PLACE]].with_columns(mine["user_key"])
    return owned, rows.filter(is_unread | ~has_it)


def _by_any_cell(rows: pl.LazyFrame, ids: Sequence[str], find: Callable[[str], int | None]) -> pl.DataFrame:
    written = sorted({form for one in ids for form in (one, json.dumps(one, ensure_ascii=False)[1:-1])})
    near = rows.filter(pl.col("row").str.contains_any(written)) if written else rows.filter(pl.lit(value=False))
    words = {one: _as_word(one) for one in ids}
    found = near.collect()
    users = [_user_of(row, words, find) for row in found["row"]]
    named = found.select("import_id", "line", user_key=pl.Series(users, dtype=pl.Int64))
    return named.filter(pl.col("user_key").is_not_null())


def _user_of(row: str, words: Mapping[str, re.Pattern[str]], find: Callable[[str], int | None]) -> int | None:
    try:
        cells = json.loads(row)
    except ValueError:
        cells = {UNREADABLE: "not_json", UNREADABLE_ROW: row}
    if isinstance(cells, dict) and cells.get(UNREADABLE) is not None:
        text = str(cells.get(UNREADABLE_ROW) or "")
        return next((find(one) for one, word in words.items() if word.search(text)), None)
    named = (find(cell) for cell in _leaves(cells) if cell in words or plain_id(cell) in words)
    return next((key for key in named if key is not None), None)


def _leaves(value: Any) -> Iterator[str]:
    """Yield the values in a row, also those in JSON in its cells."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield str(value)
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                inside = json.loads(value)
            except (ValueError, RecursionError):
                return
            yield from _leaves(inside)


def _as_word(one: str) -> re.Pattern[str]:
    """Return what finds an id in text, but not in a longer word, a number, a date or a time."""
    return re.compile(rf"(?<![\w./-])(?<!\d:){re.escape(one)}(?:\.0+)?(?![\w/-])(?!:\d)(?!\.\d)")
