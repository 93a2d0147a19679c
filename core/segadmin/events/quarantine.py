"""Export of the quarantine to a file for correction and repeated import, and deletion from the quarantine."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from segadmin.contracts.source import ESCAPED, NOTE, OTHER, UNREADABLE_ROW, is_reserved
from segadmin.errors import DataError
from segadmin.events.exact_json import cells_of, decode
from segadmin.events.formulas import escape_formulas, unescape_formulas
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Lake

#: The note with cells that have no column; unlike other notes it contains data.
_OTHER_NOTE = f"{NOTE}other"
_OTHER = {_OTHER_NOTE: OTHER}
#: Rows that are decoded at once.
_AT_ONCE = 10_000


def find_rows(settings: Settings, number: int | None, reason: str | None) -> pl.LazyFrame:
    """Return the rows in quarantine, by import and line.

    Args:
        settings: location of the store.
        number: only rows of this import.
        reason: only rows with this reason.
    """
    return _selected(settings, number, reason).sort("import_id", "line")


def _selected(settings: Settings, number: int | None, reason: str | None) -> pl.LazyFrame:
    rows = Lake.of(settings).scan("quarantine")
    if number is not None:
        rows = rows.filter(pl.col("import_id") == number)
    return rows if reason is None else rows.filter(pl.col("reason") == reason)


def count_rows(settings: Settings, number: int | None, reason: str | None) -> int:
    """Return the number of rows in quarantine; arguments as in :func:`find_rows`."""
    return int(_selected(settings, number, reason).select(pl.len()).collect().item())


def count_reasons(settings: Settings, number: int | None = None) -> dict[str, int]:
    """Return reason → rows in quarantine, the most frequent first; with ``number``, those of this import."""
    counts = _selected(settings, number, None).group_by("reason").len().sort("len", "reason", descending=[True, False])
    return dict(counts.collect().iter_rows())


def as_file(rows: pl.DataFrame, *, formulas: bool) -> pl.DataFrame:
    """Return rows in quarantine with the columns of the shop, and with notes on the reasons.

    Args:
        rows: with the columns of :data:`segadmin.storage.schema.QUARANTINE`.
        formulas: escape formulas, for programs that evaluate cells; an import reverses it.

    Raises:
        DataError: the rows are from imports into different tables, or with different columns.
    """
    columns: dict[tuple[int, str], dict[str, None]] = {}
    pieces = list(rows.iter_slices(_AT_ONCE)) or [rows]
    file = pl.concat([_with_notes(piece, columns) for piece in pieces], how="diagonal")
    _check_same(columns)
    notes = [name for name in file.columns if name.startswith(NOTE)]
    used = [name for name in notes if file[name].null_count() < file.height]
    file = file.select(*(name for name in file.columns if name not in notes), *used)
    if not formulas:
        return file
    return escape_formulas(file.lazy()).collect().with_columns(pl.lit("yes").alias(ESCAPED))


def without_notes(chunk: pl.DataFrame) -> pl.DataFrame:
    """Return a source's rows without the notes and escapes of an export from quarantine."""
    notes = [name for name in chunk.columns if name.startswith(NOTE)]
    if not notes:
        return chunk
    plain = (unescape_formulas(chunk) if ESCAPED in notes else chunk).drop(set(notes) - {_OTHER_NOTE})
    return plain.drop(_OTHER_NOTE, strict=False) if OTHER in plain.columns else plain.rename(_OTHER, strict=False)


def drop_rows(settings: Settings, number: int | None, reason: str | None) -> int:
    """Delete rows from quarantine and return their number; arguments as in :func:`find_rows`."""
    with alone(settings):
        lake = Lake.of(settings)
        rows = find_rows(settings, number, reason).select(pl.len()).collect().item()
        if rows:
            conditions = [f"import_id = {number}"] if number is not None else []
            conditions += [f"reason = '{reason.replace(chr(39), chr(39) * 2)}'"] if reason is not None else []
            lake.delete("quarantine", " AND ".join(conditions) or "true")
            lake.vacuum("quarantine", hours=0)
        subject = "all imports" if number is None else f"import {number}"
        record(settings, "data.quarantine.drop", subject, reason=reason, rows=rows)
    return int(rows)


def _values(row: str) -> dict[str, object]:
    values = decode(row)
    assert isinstance(values, dict)  # written by the spool
    return values


def _with_notes(rows: pl.DataFrame, columns: dict[tuple[int, str], dict[str, None]]) -> pl.DataFrame:
    """Return rows in quarantine with the columns of the shop and all notes; add the columns to those by import."""
    values = [_values(row) for row in rows["row"]]
    names: dict[str, None] = {}
    for key, row in zip(rows.select("import_id", "table").iter_rows(), values, strict=True):
        names |= dict.fromkeys(row)
        columns.setdefault(key, {}).update(dict.fromkeys(row))
    schema = {name: pl.String for name in names if not is_reserved(name)}
    shop = pl.DataFrame([cells_of(row) for row in values], schema=schema)
    notes = rows.select(
        pl.col("import_id").alias(f"{NOTE}import"),
        *(pl.col(name).alias(f"{NOTE}{name}") for name in ("line", "reason", "column", "value")),
        pl.Series(f"{NOTE}text", [row.get(UNREADABLE_ROW) for row in values], pl.String),
        pl.Series(_OTHER_NOTE, [row.get(OTHER) for row in values], pl.String),
    )
    return pl.concat([shop, notes], how="horizontal")


def _check_same(columns: Mapping[tuple[int, str], Mapping[str, None]]) -> None:
    """Check that the rows of all imports have the same table and columns.

    Raises:
        DataError: they have not.
    """
    forms = {(table, frozenset(names)) for (_, table), names in columns.items()}
    if len(forms) > 1:
        numbers = sorted(number for number, _ in columns)
        raise DataError(
            f"The rows are of imports {', '.join(map(str, numbers))}, whose tables or columns differ: one file cannot "
            f"hold them. Choose one: --import {numbers[-1]}"
        )
