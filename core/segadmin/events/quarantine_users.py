"""Whose rows those in quarantine are.

A row is kept as the source had it, so the user is in the column that the import's mapping says. Imports from before
mappings were kept, and files of items, do not say: there, a cell that is the user's id decides. A row that could not be
read has no cells: there, the id has to stand in it as a word of its own. So it has in a row whose cell of the user is
empty, in a column that is mapped to nothing else; ids that are words of other things as well do not count there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import polars as pl

from segadmin.contracts.source import UNREADABLE, UNREADABLE_ROW
from segadmin.events.cells import without_missing
from segadmin.events.elements import each_element
from segadmin.events.exact_json import cells_of, decode
from segadmin.events.identifiers import plain_id
from segadmin.events.keys import show_key, user_key
from segadmin.events.mapping import NULLS, OPTIONAL, REQUIRED
from segadmin.events.mapping import Mapping as Reading
from segadmin.events.named_users import NamedUsers, words_of
from segadmin.events.nested import with_paths
from segadmin.invisible import INVISIBLE

#: The columns of rows and whose they are.
OWNED = {"import_id": pl.Int64, "line": pl.Int64, "user_key": pl.Int64}
_ROW = {"import_id": pl.Int64, "line": pl.Int64, "row": pl.String}
#: Fields whose cells name something else than a user; people write about users in ``text``.
_OTHER_FIELDS = {field for fields in (*REQUIRED.values(), *OPTIONAL.values()) for field in fields} - {"user", "text"}
_PLACE = "segadmin:place"
_IS_UNREAD = pl.col("row").str.contains(f'"{UNREADABLE}":"', literal=True)


def kept_mapping(mapping: Reading, secret: bytes) -> dict[str, Any]:
    """Return a mapping as an import keeps it: with the pseudonym of a user whom it says all rows belong to."""
    kept = mapping.model_dump(mode="json")
    if "user" in mapping.constants:
        kept["constants"]["user"] = show_key(user_key(secret, plain_id(mapping.constants["user"])))
    return kept


def rows_of_users(
    quarantine: pl.LazyFrame, mappings: Mapping[int, Mapping[str, Any]], users: NamedUsers
) -> pl.DataFrame:
    """Return the rows that belong to some users.

    Args:
        quarantine: the rows, with the columns ``import_id``, ``line`` and ``row``.
        mappings: of imports, by number, as :func:`kept_mapping` returns them; empty where it is not known.
        users: whose rows to find.

    Returns:
        ``import_id``, ``line`` and ``user_key``.
    """
    if not users.names:
        return pl.DataFrame(schema=OWNED)
    parts = []
    for number in quarantine.select(pl.col("import_id").unique().sort()).collect()["import_id"]:
        rows = quarantine.filter(pl.col("import_id") == number).select("import_id", "line", "row")
        mapping = mappings.get(number)
        if not mapping:
            parts.append(_by_any_cell(rows, users))
        elif "user" in mapping["constants"]:
            key = users.of_cell(mapping["constants"]["user"])
            parts.append(rows.filter(key is not None).select("import_id", "line", user_key=pl.lit(key)).collect())
        else:
            mapped, nameless, others = _by_columns(rows, mapping, users)
            parts += [mapped, _by_words(nameless, mapping, users), _by_any_cell(others, users)]
    return pl.concat([pl.DataFrame(schema=OWNED), *parts], how="vertical_relaxed").unique(
        ["import_id", "line"], maintain_order=True
    )


def owned(rows: pl.Series, mapping: Mapping[str, Any], users: NamedUsers) -> pl.DataFrame:
    """Return ``line``, counted from 0, and ``user_key`` of those rows, written as those in quarantine, that are users'.

    Args:
        rows: JSON objects (String).
        mapping: as :func:`rows_of_users` takes those of imports.
        users: whose rows to find.
    """
    frame = pl.LazyFrame({"row": rows}, schema={"row": pl.String}).select(
        "row", import_id=pl.lit(0, pl.Int64), line=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    return rows_of_users(frame, {0: mapping}, users).select("line", "user_key")


def row_of_json(text: str) -> str:
    """Return a line of JSON as a row in quarantine would have it; bytes that were no UTF-8 are halves of pairs."""
    try:
        values = decode(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        values = {UNREADABLE: "not_json", UNREADABLE_ROW: shown}
    return json.dumps(cells_of(values), ensure_ascii=False, separators=(",", ":"))


def _by_columns(
    rows: pl.LazyFrame, mapping: Mapping[str, Any], users: NamedUsers
) -> tuple[pl.DataFrame, pl.DataFrame, pl.LazyFrame]:
    """Tell the rows by what the columns of the mapping say.

    Returns:
        The rows where one names one of the users; those where they are all empty; and those that have no such column.
    """
    paths = [mapping["columns"].get("user", "user"), *mapping.get("fallbacks", {}).get("user", ())]
    row = pl.col("row")
    has = {head: row.str.contains(_key(head), literal=True) for path in paths for head in _heads(path)}
    there = rows.filter(~_IS_UNREAD).select(is_there.any().alias(head) for head, is_there in has.items()).collect()
    bases = [head for head in has if there[head].item()]  # rows that a queue gave may have different columns
    if not bases:
        return pl.DataFrame(schema=OWNED), pl.DataFrame(schema=_ROW), rows
    has_it = pl.any_horizontal(has[base] for base in bases)
    read = rows.filter(has_it & ~_IS_UNREAD).collect()
    cells = read.select(row.str.json_decode(pl.Struct(dict.fromkeys(bases, pl.String))).struct.unnest())
    cells = cells.with_columns(pl.int_range(pl.len()).alias(_PLACE))
    named = pl.concat(
        _cells(cells.select(_PLACE, base), path, mapping.get("each"))
        for path in paths
        for base in _heads(path)
        if base in bases
    ).drop_nulls("cell")
    keys = {cell: _of_cell(cell, users) for cell in named["cell"].unique()}
    mine = named.select(_PLACE, user_key=pl.Series([keys[cell] for cell in named["cell"]], dtype=pl.Int64)).drop_nulls()
    owned = read.select("import_id", "line")[mine[_PLACE]].with_columns(mine["user_key"])
    filled, _ = without_missing(named["cell"], mapping.get("nulls", NULLS))
    with_name = named.filter(filled.is_not_null())[_PLACE].unique()
    nameless = read.filter(~pl.int_range(read.height, eager=True).is_in(with_name.implode()))
    return owned, nameless, rows.filter(_IS_UNREAD | ~has_it)


def _by_words(rows: pl.DataFrame, mapping: Mapping[str, Any], users: NamedUsers) -> pl.DataFrame:
    """Return the rows that name one of the users with a word of its own, in a column that is of no other field."""
    columns = mapping["columns"]
    others = {columns.get(field, field) for field in _OTHER_FIELDS}
    values = ((value for column, value in json.loads(row).items() if column not in others) for row in rows["row"])
    texts = pl.Series(["\n".join(_leaves(list(each))) for each in values], dtype=pl.String)
    keys = pl.Series(users.distinctive.of_texts(texts), dtype=pl.Int64)
    return rows.select("import_id", "line", user_key=keys).drop_nulls("user_key")


def _heads(path: str) -> list[str]:
    """Return the columns that a path may begin with, as :func:`segadmin.events.nested.base_of` looks for them."""
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _key(name: str) -> str:
    """Return how a column is written in a row, and nothing else: inside of texts quotes have a backslash."""
    return json.dumps(name, ensure_ascii=False) + ":"


def _cells(column: pl.DataFrame, path: str, each: str | None) -> pl.DataFrame:
    """Return the cells that ``path`` leads to in one column, and whose place they are."""
    if each is not None:
        column = each_element(column, each)
    found = with_paths(column, [path])
    return (
        found.select(_PLACE, cell=path)
        if path in found.columns
        else column.select(_PLACE, cell=pl.lit(None, pl.String))
    )


def _by_any_cell(rows: pl.LazyFrame, users: NamedUsers) -> pl.DataFrame:
    unread = rows.filter(_IS_UNREAD).collect()
    texts = pl.Series([json.loads(row).get(UNREADABLE_ROW) or "" for row in unread["row"]], dtype=pl.String)
    seen = pl.col("row").str.replace_all(INVISIBLE, "").str.normalize("NFC")
    read = rows.filter(~_IS_UNREAD & seen.str.contains_any(words_of(users.names.values()))).collect()
    owners = [_owner(row, users) for row in read["row"]]
    named = [(unread, users.of_texts(texts)), (read, owners)]
    return pl.concat(
        some.select("import_id", "line", user_key=pl.Series(keys, dtype=pl.Int64)).drop_nulls("user_key")
        for some, keys in named
    )


def _of_cell(cell: str, users: NamedUsers) -> int | None:
    """Return whom a cell names; one that holds JSON, which is why its row was refused, by any value in it."""
    key = users.of_cell(cell)
    if key is None and cell.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return _owner(cell, users)
    return key


def _owner(row: str, users: NamedUsers) -> int | None:
    keys = map(users.of_cell, _leaves(json.loads(row)))
    return next((key for key in keys if key is not None), None)


def _leaves(value: Any) -> Iterator[str]:
    """Yield the values in a row, and those in cells that hold JSON."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield str(value)
