"""Ids that are written almost as others: in other case, full width, or with letters put together otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from segadmin.events.lake import Lake

#: Suggestions for one id.
_MOST = 3


def similar_ids(lake: Lake, unknown: Sequence[str]) -> dict[str, list[str]]:
    """Return the known users who are written almost as some unknown ones, by the latter."""
    if not unknown:
        return {}
    wanted = pl.LazyFrame({"unknown": unknown}).select("unknown", form=_form("unknown"))
    known = lake.scan("users").select("user", form=_form("user"))
    pairs = known.join(wanted, on="form").group_by("unknown").agg(pl.col("user").unique().sort().head(_MOST)).collect()
    return dict(pairs.iter_rows())


def _form(name: str) -> pl.Expr:
    return pl.col(name).str.normalize("NFKC").str.to_lowercase().str.normalize("NFKC").str.strip_chars()
