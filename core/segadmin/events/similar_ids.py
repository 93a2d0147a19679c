"""Similar ids: those that differ only in case, width or Unicode composition."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segadmin.storage.lake import Lake

#: Maximum number of suggestions for one id.
_MAX_SUGGESTIONS = 3


def similar_ids(lake: Lake, names: Sequence[str]) -> dict[str, list[str]]:
    """Return name → similar ids of other known users."""
    if not names:
        return {}
    requested = pl.LazyFrame({"name": names}).select("name", form=_form("name"))
    others = lake.scan("users").filter(~pl.col("user").is_in(list(names))).select("user", form=_form("user"))
    suggestions = pl.col("user").unique().sort().head(_MAX_SUGGESTIONS)
    pairs = others.join(requested, on="form").group_by("name").agg(suggestions).collect()
    return dict(pairs.iter_rows())


def _form(name: str) -> pl.Expr:
    return pl.col(name).str.normalize("NFKC").str.to_lowercase().str.normalize("NFKC").str.strip_chars()
