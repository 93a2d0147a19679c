"""What a shop says beside the fields: the JSON in the column ``extras`` of events and of items."""

from __future__ import annotations

import polars as pl


def extra(name: str, column: str = "extras") -> pl.Expr:
    """Return what the JSON in ``column`` says of ``name``; null is nothing."""
    quote = '"' if "'" in name else "'"  # a path knows no escapes
    return pl.col(column).str.json_path_match(f"$[{quote}{name}{quote}]")


def amount(name: str) -> pl.Expr:
    """Return an extra as a number; null where it is none."""
    return extra(name).cast(pl.Float64, strict=False)


def names_of(extras: pl.Series) -> list[str]:
    """Return what extras hold; all of a table are of the same mapping, so the first tells."""
    return extras.head(1).str.json_decode(infer_schema_length=1).struct.fields if len(extras) else []
