"""Access to extra columns of a shop: the JSON in the column ``extras`` of events and of items."""

from __future__ import annotations

import polars as pl


def extra(name: str, column: str = "extras") -> pl.Expr:
    """Return the value of ``name`` in the JSON in ``column``; null if there is none."""
    quote = '"' if "'" in name else "'"  # JSON paths have no escapes
    return pl.col(column).str.json_path_match(f"$[{quote}{name}{quote}]")


def amount(name: str) -> pl.Expr:
    """Return an extra as a number; null if it is not one."""
    return extra(name).cast(pl.Float64, strict=False)


def names_of(extras: pl.Series) -> list[str]:
    """Return the names of extras, from the first cell: all cells of a table come from the same mapping."""
    return extras.head(1).str.json_decode(infer_schema_length=1).struct.fields if len(extras) else []
