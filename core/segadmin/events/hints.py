"""Hints about rows that are probably misread, with the option that corrects it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import polars as pl

from segadmin.contracts.event_kinds import plain_word
from segadmin.counts import counted
from segadmin.errors import DataError
from segadmin.events.field_names import ALSO_CALLED
from segadmin.events.mapping import Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.events.time_formats import fitting_formats
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import

#: Maximum number of quarantined cells that a hint is based on.
_EXAMINED_CELLS = 1_000

#: Ids that stand for a missing value.
_PLACEHOLDER = re.compile(
    r"[(<\[]?(?:null|none|nan|nil|na|n/a|blank|empty|missing|not[ _-]set|undefined|unknown|anonymous|guest|true|false|"
    r"not[ _-]authenticated|distinct_?id)[)>\]]?|"
    r"[-.?_]+|匿名|匿名用户|未知|游客|无|空|暂无|00000000-0000-0000-0000-000000000000",
    re.IGNORECASE,
)
#: Numeric ids that may be real, but are suspicious as the most frequent id.
_NUMERIC_PLACEHOLDER = re.compile(r"0+|-1|9{5,}")
#: Days since 1899-12-30, from 1990 on, optionally with the time of day.
_SERIAL_DAY = re.compile(r"(?:3[3-9]|[45][0-9])[0-9]{3}(?:[.,][0-9]+)?")
_ABOUT_REASONS = {
    "mangled_id": (
        "mangled_id: a spreadsheet or a decimal kept only the first digits of these ids, so several would become one. "
        "Export them as text from where they are whole."
    ),
    "future_time": (
        "future_time: these events are in the future. A clock is ahead, or times without a zone are of another than "
        "UTC: --timezone Asia/Shanghai. Once their time has come, or with the right zone, import them again."
    ),
    "nested_id": "nested_id: the cell is an object or a list. Give the path to one value: --map item=COLUMN.KEY",
}


def about_import(settings: Settings, record: Import, mapping: Mapping) -> list[str]:
    """Return hints about a completed import."""
    hints = list(about_unit_price(mapping)) if record.table == "events" else []
    if record.reasons.get("bad_time", 0) * 2 > record.rows_read:
        is_bad_time = (pl.col("import_id") == record.id) & (pl.col("reason") == "bad_time")
        rows = Lake.of(settings).scan("quarantine").filter(is_bad_time).select("value").drop_nulls()
        hints.append(about_times(rows.head(_EXAMINED_CELLS).collect()["value"].to_list()))
    return hints + about_reasons(record.reasons)


def about_times(cells: Sequence[str]) -> str:
    """Return a hint about unreadable times, with the ``--times`` options that read them."""
    if cells and all(_SERIAL_DAY.fullmatch(cell.strip()) for cell in cells):
        return (
            f"Times such as {cells[0]!r} look like a spreadsheet's days since 1899. "
            "Show the column as dates, such as 2026-01-31, before you save the sheet as CSV."
        )
    formats = fitting_formats(cells)
    options = [f"--times {shlex.quote(format_)}" for format_ in formats[:3]]
    example = cells[0] if cells else ""
    if len(options) == 1:
        return f"Times such as {example!r} are read with {options[0]}"
    if options:
        return f"Times such as {example!r} can be read in several ways. Say which: {' or '.join(options)}"
    return (
        f"No time is read from {example!r}. Say how times are written: --times '%d.%m.%Y %H:%M'. Without it these are "
        "read: 2026-01-31, 2026/1/31, 20260131, 2026年1月31日, each with or without 08:30 or 08:30:00.5 and a zone; "
        "20260131083000; Unix seconds, milliseconds, microseconds and nanoseconds."
    )


def about_reasons(reasons: dict[str, int]) -> list[str]:
    """Return hints about reasons of quarantined rows."""
    return [text for reason, text in _ABOUT_REASONS.items() if reasons.get(reason)]


def about_unit_price(mapping: Mapping, columns: Sequence[str] = ()) -> Iterator[str]:
    """Yield a warning if ``price``, the total of a line, is read from a column that looks like a unit price."""
    column = mapping.columns.get("price", "price" if "price" in columns else "")
    if plain_word(column.rpartition(".")[2]) in ALSO_CALLED["unit_price"]:
        yield (
            f"price is the price of the whole line, and {column!r} looks like the price of one piece. "
            f"If it is: --map unit_price={shlex.quote(column)} instead of --map price={shlex.quote(column)}"
        )


def about_ids(ids: pl.DataFrame) -> Iterator[str]:
    """Yield a warning for every id that probably stands for a missing value.

    Args:
        ids: a column for each id field, with ids in their stored form.
    """
    for column in ids:
        counts = column.drop_nulls().value_counts(sort=True)
        words, rows = counts[column.name].to_list(), counts["count"].to_list()
        for rank, (word, count) in enumerate(zip(words, rows, strict=True)):
            is_most = rank == 0 and count > 1 and len(rows) > 1 and _NUMERIC_PLACEHOLDER.fullmatch(word)
            if is_most or _PLACEHOLDER.fullmatch(word):
                yield (
                    f"{word!r} is the {column.name} of {counted(count, 'row')}. If it stands for a missing value: "
                    f"--null {shlex.quote(word)}"
                )


def about_numbers(numbers: NumberColumns) -> Iterator[str]:
    """Yield warnings about number columns that an import would refuse, or that have a decimal comma."""
    for refuse in (numbers.refuse_open, numbers.refuse_mixed):
        try:
            refuse()
        except DataError as error:
            yield str(error)
    for name, example in numbers.decimal_commas().items():
        yield (
            f"{name} is read with a decimal comma, as in {example.cell!r} (line {example.line}). "
            "If that is wrong: --decimal ."
        )
