"""What looks wrong in some rows and is no error: how they may be meant, and the option that says so."""

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

#: Quarantined cells of an import that a hint is made from.
_LOOKED_AT = 1_000

#: Ids that are words for nobody and nothing.
_NOBODY = re.compile(
    r"[(<\[]?(?:null|none|nan|nil|na|n/a|blank|empty|missing|not[ _-]set|undefined|unknown|anonymous|guest|true|false|"
    r"not[ _-]authenticated|distinct_?id)[)>\]]?|"
    r"[-.?_]+|匿名|匿名用户|未知|游客|无|空|暂无|00000000-0000-0000-0000-000000000000",
    re.IGNORECASE,
)
#: Ids that may be somebody's, and are suspicious where nobody has more rows.
_NUMBER_FOR_NOBODY = re.compile(r"0+|-1|9{5,}")
#: Days since 1899-12-30, from 1990 on, perhaps with the time of day.
_SERIAL_DAY = re.compile(r"(?:3[3-9]|[45][0-9])[0-9]{3}(?:[.,][0-9]+)?")
_ABOUT_REASONS = {
    "mangled_id": (
        "mangled_id: a spreadsheet or a decimal kept only the first digits of these ids, so several would become one. "
        "Export them as text from where they are whole."
    ),
    "nested_id": "nested_id: the cell is an object or a list. Give the path to one value: --map item=COLUMN.KEY",
}


def about_import(settings: Settings, record: Import, mapping: Mapping) -> list[str]:
    """Return what looks wrong in an import that is done."""
    hints = list(about_unit_price(mapping)) if record.table == "events" else []
    if record.reasons.get("bad_time", 0) * 2 > record.rows_read:
        mine = (pl.col("import_id") == record.id) & (pl.col("reason") == "bad_time")
        values = Lake.of(settings).scan("quarantine").filter(mine).select("value").drop_nulls().head(_LOOKED_AT)
        hints.append(about_times(values.collect()["value"].to_list()))
    return hints + about_reasons(record.reasons)


def about_times(cells: Sequence[str]) -> str:
    """Return which ``--times`` reads these cells, which are in none of the forms that are read without it."""
    if cells and all(_SERIAL_DAY.fullmatch(cell.strip()) for cell in cells):
        return (
            f"Times such as {cells[0]!r} look like a spreadsheet's days since 1899. "
            "Show the column as dates, such as 2026-01-31, before you save the sheet as CSV."
        )
    formats = fitting_formats(cells)
    options = [f"--times {shlex.quote(form)}" for form in formats[:3]]
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
    """Return what to do about some of the reasons why rows are in quarantine."""
    return [text for reason, text in _ABOUT_REASONS.items() if reasons.get(reason)]


def about_unit_price(mapping: Mapping, columns: Sequence[str] = ()) -> Iterator[str]:
    """Yield a warning where ``price``, that of the whole line, is read from what looks like the price of a piece."""
    column = mapping.columns.get("price", "price" if "price" in columns else "")
    if plain_word(column.rpartition(".")[2]) in ALSO_CALLED["unit_price"]:
        yield (
            f"price is the price of the whole line, and {column!r} looks like the price of one piece. "
            f"If it is: --map unit_price={shlex.quote(column)} instead of --map price={shlex.quote(column)}"
        )


def about_ids(ids: pl.DataFrame) -> Iterator[str]:
    """Yield a warning for every id that is a word for nobody or nothing.

    Args:
        ids: a column for each field with ids, as they would be stored.
    """
    for column in ids:
        counts = column.drop_nulls().value_counts(sort=True)
        words, rows = counts[column.name].to_list(), counts["count"].to_list()
        for place, (word, count) in enumerate(zip(words, rows, strict=True)):
            is_most = place == 0 and count > 1 and len(rows) > 1 and _NUMBER_FOR_NOBODY.fullmatch(word)
            if is_most or _NOBODY.fullmatch(word):
                yield (
                    f"{word!r} is the {column.name} of {counted(count, 'row')}. If it stands for a missing value: "
                    f"--null {shlex.quote(word)}"
                )


def about_numbers(numbers: NumberColumns) -> Iterator[str]:
    """Yield how the columns of numbers are read where that is not plain, and why an import would refuse them."""
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
