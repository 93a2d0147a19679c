"""Which column of a file is which field of a table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from segadmin.errors import ConfigurationError, DataError, did_you_mean

#: The fields that a file can give, by table; those that must be there come first.
REQUIRED = {"events": ("user", "kind", "item", "at"), "items": ("item",), "labels": ("user", "segment")}
OPTIONAL = {
    "events": ("quantity", "price", "duration", "rating", "text", "event_id"),
    "items": ("title", "category", "brand", "price"),
    "labels": ("observed_from", "as_of", "outcome_until"),
}

#: What shops' logs call the needed fields, written as :func:`_plain` writes names.
ALSO_CALLED = {
    "user": (
        "userid",
        "uid",
        "customer",
        "customerid",
        "visitorid",
        "memberid",
        "householdid",
        "用户",
        "用户id",
        "顾客",
    ),
    "kind": (
        "eventtype",
        "event",
        "eventname",
        "behavior",
        "behaviortype",
        "action",
        "type",
        "行为",
        "动作",
        "行为类型",
    ),
    "item": ("itemid", "product", "productid", "sku", "skuid", "goodsid", "asin", "商品", "商品id", "商品编号"),
    "at": ("timestamp", "time", "datetime", "date", "eventtime", "createdat", "时间", "时间戳", "日期"),
    "segment": ("label", "group", "cluster", "class", "分群", "人群", "标签"),
}
#: What Polars adds to a column's name that a CSV header has for the second time.
SECOND = "_duplicated_0"


@dataclass(frozen=True)
class Columns:
    """How to read a table's fields from a file's columns."""

    columns: Mapping[str, str] = field(default_factory=dict)  #: field → column, where the names differ
    constants: Mapping[str, str] = field(default_factory=dict)  #: field → the same value for every row
    extras: Sequence[str] = ()  #: columns kept as JSON in ``extras``

    def fields(self, table: str, found: Sequence[str]) -> dict[str, pl.Expr]:
        """Return an expression (String) for every field of ``table``; null where the file has none.

        Raises:
            ConfigurationError: a field or column that does not exist was named.
            DataError: a needed field is in no column.
        """
        known = (*REQUIRED[table], *OPTIONAL[table])
        for name in (*self.columns, *self.constants):
            if name not in known:
                raise ConfigurationError(f"{table} have no field {name!r}.{did_you_mean(name, known)}")
        for column in (*self.columns.values(), *self.extras):
            if column not in found:
                raise DataError(f"The file has no column {column!r}.{did_you_mean(column, found)}")
        missing = [name for name in REQUIRED[table] if not (self._given(name) or name in found)]
        if missing:
            raise DataError(
                f"The file has no column for {', '.join(missing)}; its columns are: {', '.join(found)}. "
                f"{self._guesses(missing, found)}"
                f"Say which is which: --map {missing[0]}=COLUMN, or give all rows one value: --set {missing[0]}=VALUE"
            )
        for name in known:
            self._refuse_twice(name, found)
        return {name: self._cell(name, found) for name in known}

    def _guesses(self, missing: Sequence[str], found: Sequence[str]) -> str:
        """Return the ``--map`` words that would mend it, as far as the columns' names tell."""
        free = {_plain(column): column for column in found if column not in self.columns.values()}
        words = []
        for name in missing:
            known = (name, *ALSO_CALLED.get(name, ()))
            near = [column for word in known for column in difflib.get_close_matches(word, free, n=1, cutoff=0.85)]
            if near:
                words.append(f"--map {name}={free.pop(near[0])}")
        return f"Did you mean: {' '.join(words)}? " if words else ""

    def _refuse_twice(self, name: str, found: Sequence[str]) -> None:
        column = self.columns.get(name, name)
        if name not in self.constants and column in found and f"{column}{SECOND}" in found:
            raise DataError(
                f"The file has several columns {column!r}, so it is not clear which is {name}. "
                f"Rename one, or say which: --map {name}={column}{SECOND} is the second."
            )

    def _given(self, name: str) -> bool:
        return name in self.columns or name in self.constants

    def _cell(self, name: str, found: Sequence[str]) -> pl.Expr:
        if name in self.constants:
            return pl.lit(self.constants[name])
        column = self.columns.get(name, name)
        if column not in found:
            return pl.lit(None, dtype=pl.String)
        cell = pl.col(column).cast(pl.String).str.strip_chars()
        return pl.when(cell != "").then(cell)


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
