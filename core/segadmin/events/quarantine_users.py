"""Search for users' rows in quarantine.

A row is stored unchanged, so the user is in the column that the import's mapping names. Old imports without a stored
mapping, and files of items, have no such column: there, any cell with the user's id counts. An unreadable row has no
cells: there, the text must contain the id as a word. The same applies to rows with an empty user cell, in columns that
are not mapped to other fields; ambiguous ids are ignored there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import polars as pl

from segadmin.contracts.source import OWN, UNREADABLE, UNREADABLE_ROW, has_reserved
from segadmin.events.cells import without_missing
from segadmin.events.elements import each_element
from segadmin.events.exact_json import cells_of, decode
from segadmin.events.identifiers import plain_id
from segadmin.events.keys import show_key, user_key
from segadmin.events.mapping import NULLS, OPTIONAL, REQUIRED
from segadmin.events.mapping import Mapping as FieldMapping
from segadmin.events.named_users import NamedUsers, words_of
from segadmin.events.nested import with_paths
from segadmin.invisible import INVISIBLE
from segadmin.urls import mask_all

#: Columns of rows with their users.
OWNED = {"import_id": pl.Int64, "line": pl.Int64, "user_key": pl.Int64}
_ROW = {"import_id": pl.Int64, "line": pl.Int64, "row": pl.String}
#: Fields whose cells do not name users; ``text`` may mention them.
_OTHER_FIELDS = {field for fields in (*REQUIRED.values(), *OPTIONAL.values()) for field in fields} - {"user", "text"}
_PLACE = f"{OWN}place"
_IS_UNREAD = pl.col("row").str.contains(f'"{UNREADABLE}":"', literal=True)


def kept_mapping(mapping: FieldMapping, secret: bytes) -> dict[str, Any]:
    """Return a mapping for storage: without secrets, and with the pseudonym of a user that it assigns to all rows."""
    values = mapping.model_dump(mode="json")
    values["source"]["options"] = mask_all(values["source"]["options"])
    if "user" in mapping.constants:
        values["constants"]["user"] = show_key(user_key(secret, plain_id(mapping.constants["user"])))
    return values


def rows_of_users(
    quarantine: pl.LazyFrame, mappings: Mapping[int, Mapping[str, Any]], users: NamedUsers
) -> pl.DataFrame:
    """Return the rows that belong to ``users``.

    Args:
        quarantine: the rows, with the columns ``import_id``, ``line`` and ``row``.
        mappings: import number → mapping from :func:`kept_mapping`; empty if it is unknown.
        users: the users to search for.

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
            mapped, without_user, others = _by_columns(rows, mapping, users)
            parts += [mapped, _by_words(without_user, mapping, users), _by_any_cell(others, users)]
    return pl.concat([pl.DataFrame(schema=OWNED), *parts], how="vertical_relaxed").unique(
        ["import_id", "line"], maintain_order=True
    )


def owned(rows: pl.Series, mapping: Mapping[str, Any], users: NamedUsers) -> pl.DataFrame:
    """Return ``line``, counted from 0, and ``user_key`` of the rows that belong to ``users``.

    Args:
        rows: JSON objects (String), as in quarantine.
        mapping: as for :func:`rows_of_users`.
        users: the users to search for.
    """
    frame = pl.LazyFrame({"row": rows}, schema={"row": pl.String}).select(
        "row", import_id=pl.lit(0, pl.Int64), line=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    return rows_of_users(frame, {0: mapping}, users).select("line", "user_key")


def row_of_json(text: str) -> str:
    """Return a line of JSON as a row of the quarantine; bytes that are not UTF-8 are given as lone surrogates.

    A line with a reserved name is an unreadable row, as for an import: else its user would not be found.
    """
    try:
        values = decode(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or has_reserved(values):
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        values = {UNREADABLE: "not_json", UNREADABLE_ROW: shown}
    return json.dumps(cells_of(values), ensure_ascii=False, separators=(",", ":"))


def _by_columns(
    rows: pl.LazyFrame, mapping: Mapping[str, Any], users: NamedUsers
) -> tuple[pl.DataFrame, pl.DataFrame, pl.LazyFrame]:
    """Search the user columns of the mapping.

    Returns:
        The rows that name one of the users; those with empty user cells; and those without a user column.
    """
    paths = [mapping["columns"].get("user", "user"), *mapping.get("fallbacks", {}).get("user", ())]
    row = pl.col("row")
    has = {head: row.str.contains(_key(head), literal=True) for path in paths for head in _heads(path)}
    present = rows.filter(~_IS_UNREAD).select(has_head.any().alias(head) for head, has_head in has.items()).collect()
    bases = [head for head in has if present[head].item()]  # rows from a queue may have different columns
    if not bases:
        return pl.DataFrame(schema=OWNED), pl.DataFrame(schema=_ROW), rows
    has_column = pl.any_horizontal(has[base] for base in bases)
    readable_rows = rows.filter(has_column & ~_IS_UNREAD).collect()
    cells = readable_rows.select(row.str.json_decode(pl.Struct(dict.fromkeys(bases, pl.String))).struct.unnest())
    cells = cells.with_columns(pl.int_range(pl.len()).alias(_PLACE))
    user_cells = pl.concat(
        _cells(cells.select(_PLACE, base), path, mapping.get("each"))
        for path in paths
        for base in _heads(path)
        if base in bases
    ).drop_nulls("cell")
    keys = {cell: _of_cell(cell, users) for cell in user_cells["cell"].unique()}
    matches = user_cells.select(
        _PLACE, user_key=pl.Series([keys[cell] for cell in user_cells["cell"]], dtype=pl.Int64)
    ).drop_nulls()
    owned = readable_rows.select("import_id", "line")[matches[_PLACE]].with_columns(matches["user_key"])
    non_null, _ = without_missing(user_cells["cell"], mapping.get("nulls", NULLS))
    with_user = user_cells.filter(non_null.is_not_null())[_PLACE].unique()
    without_user = readable_rows.filter(~pl.int_range(readable_rows.height, eager=True).is_in(with_user.implode()))
    return owned, without_user, rows.filter(_IS_UNREAD | ~has_column)


def _by_words(rows: pl.DataFrame, mapping: Mapping[str, Any], users: NamedUsers) -> pl.DataFrame:
    """Return the rows that name one of the users as a word in a column that is not mapped to another field."""
    columns = mapping["columns"]
    others = {columns.get(field, field) for field in _OTHER_FIELDS}
    values = ((value for column, value in json.loads(row).items() if column not in others) for row in rows["row"])
    texts = pl.Series(["\n".join(_leaves(list(cells))) for cells in values], dtype=pl.String)
    keys = pl.Series(users.distinctive.of_texts(texts), dtype=pl.Int64)
    return rows.select("import_id", "line", user_key=keys).drop_nulls("user_key")


def _heads(path: str) -> list[str]:
    """Return the possible columns at the start of a path, as in :func:`segadmin.events.nested.base_of`."""
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _key(name: str) -> str:
    """Return the JSON key of a column, which cannot occur within texts, because quotes are escaped there."""
    return json.dumps(name, ensure_ascii=False) + ":"


def _cells(column: pl.DataFrame, path: str, each: str | None) -> pl.DataFrame:
    """Return the cells at ``path`` in one column, with their row numbers."""
    if each is not None:
        column = each_element(column, each)
    values = with_paths(column, [path])
    return (
        values.select(_PLACE, cell=path)
        if path in values.columns
        else column.select(_PLACE, cell=pl.lit(None, pl.String))
    )


def _by_any_cell(rows: pl.LazyFrame, users: NamedUsers) -> pl.DataFrame:
    unreadable = rows.filter(_IS_UNREAD).collect()
    texts = pl.Series([json.loads(row).get(UNREADABLE_ROW) or "" for row in unreadable["row"]], dtype=pl.String)
    visible_row = pl.col("row").str.replace_all(INVISIBLE, "").str.normalize("NFC")
    candidates = rows.filter(~_IS_UNREAD & visible_row.str.contains_any(words_of(users.names.values()))).collect()
    owners = [_owner(row, users) for row in candidates["row"]]
    parts = [(unreadable, users.of_texts(texts)), (candidates, owners)]
    return pl.concat(
        frame.select("import_id", "line", user_key=pl.Series(keys, dtype=pl.Int64)).drop_nulls("user_key")
        for frame, keys in parts
    )


def _of_cell(cell: str, users: NamedUsers) -> int | None:
    """Return the key of the user that a cell names; any value counts in JSON cells, for which rows are rejected."""
    key = users.of_cell(cell)
    if key is None and cell.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return _owner(cell, users)
    return key


def _owner(row: str, users: NamedUsers) -> int | None:
    keys = map(users.of_cell, _leaves(json.loads(row)))
    return next((key for key in keys if key is not None), None)


def _leaves(value: Any) -> Iterator[str]:
    """Yield the values of a row, including those in JSON cells."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    elif value is not None:
        yield str(value)
