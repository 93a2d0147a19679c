"""Ids that are written almost as others: in other case, full width, or with letters put together otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segadmin.storage.lake import Lake

#: Suggestions for one id.
_MOST = 3


def similar_ids(lake: Lake, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the other known users who are written almost as some, by the latter."""
    if not names:
        return {}
    wanted = pl.LazyFrame({"name": names}).select("name", form=_form("name"))
    known = lake.scan("users").filter(~pl.col("user").is_in(list(names))).select("user", form=_form("user"))
    pairs = known.join(wanted, on="form").group_by("name").agg(pl.col("user").unique().sort().head(_MOST)).collect()
    return dict(pairs.iter_rows())


def _form(name: str) -> pl.Expr:
    return pl.col(name).str.normalize("NFKC").str.to_lowercase().str.normalize("NFKC").str.strip_chars()
