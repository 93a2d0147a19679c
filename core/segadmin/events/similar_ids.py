"""Similar ids: those that differ only in case, width or Unicode composition, or else by a typing error."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import polars as pl

from segadmin.storage.lake import Lake

#: Maximum number of suggestions for one id.
_MAX_SUGGESTIONS = 3
#: Minimum similarity of an id with a typing error, and number of ids that are compared.
_MIN_SIMILARITY, _MAX_COMPARED = 0.75, 5_000


def similar_ids(lake: Lake, names: Sequence[str]) -> dict[str, list[str]]:
    """Return name → similar ids of other known users."""
    if not names:
        return {}
    requested = pl.LazyFrame({"name": names}).select("name", form=_form("name"))
    others = lake.scan("users").filter(~pl.col("user").is_in(list(names))).select("user", form=_form("user"))
    suggestions = pl.col("user").unique().sort().head(_MAX_SUGGESTIONS)
    pairs = others.join(requested, on="form").group_by("name").agg(suggestions).collect()
    return dict(pairs.iter_rows())


def close_ids(lake: Lake, name: str) -> list[str]:
    """Return known ids that ``name`` may stand for: similar ones, else some that differ by few characters."""
    if similar := similar_ids(lake, [name]).get(name):
        return similar
    length, ends = pl.col("user").str.len_chars(), (name[:2], name[-2:])
    is_close = length.is_between(len(name) - 1, len(name) + 1) & (
        pl.col("user").str.starts_with(ends[0]) | pl.col("user").str.ends_with(ends[1])
    )
    compared = lake.scan("users").filter(is_close).select("user").head(_MAX_COMPARED).collect()["user"].to_list()
    return difflib.get_close_matches(name, compared, n=_MAX_SUGGESTIONS, cutoff=_MIN_SIMILARITY)


def _form(name: str) -> pl.Expr:
    return pl.col(name).str.normalize("NFKC").str.to_lowercase().str.normalize("NFKC").str.strip_chars()
