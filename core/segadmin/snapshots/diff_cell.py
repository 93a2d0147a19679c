"""The users behind a number of a difference: those of one cell of the matrix, or of one cause."""

from __future__ import annotations

import polars as pl

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.snapshots.diff import SnapshotDiff
from segadmin.snapshots.policy import Cause

#: What a user is called who is not in the earlier, or in the later snapshot; a segment of that name goes first.
NEW, LEFT = "new", "left"


def cell_of(
    compared: SnapshotDiff, before: str | None = None, after: str | None = None, cause: str | None = None
) -> pl.DataFrame:
    """Return the users of a cell of the matrix: ``user_key``, ``before``, ``after`` and ``cause``.

    Args:
        compared: the difference.
        before: their segment in the earlier snapshot, or :data:`NEW`; ``None``: any.
        after: their segment in the later one, or :data:`LEFT`; ``None``: any.
        cause: why they moved; ``None``: any. If nothing is given, all who moved.

    Raises:
        ConfigurationError: there is no such segment or cause.
    """
    rows = compared.users
    if before is None and after is None:
        rows = rows.filter(pl.col("cause").is_not_null())
    for column, name, absent in (("before", before, NEW), ("after", after, LEFT)):
        if name is not None:
            _check(name, (*compared.segments, absent), "segment")
            is_absent = name == absent and absent not in compared.segments
            rows = rows.filter(pl.col(column).is_null() if is_absent else pl.col(column).cast(pl.String) == name)
    if cause is not None:
        _check(cause, tuple(each.value for each in Cause), "cause")
        rows = rows.filter(pl.col("cause").cast(pl.String) == cause)
    return rows


def page_of(users: pl.DataFrame, limit: int, after: int | None = None) -> pl.DataFrame:
    """Return the ``limit`` users with the lowest keys, of those with keys above ``after``."""
    if after is not None:
        users = users.filter(pl.col("user_key") > after)
    texts = pl.col("before", "after", "cause").cast(pl.String)
    return users.sort("user_key").head(limit).with_columns(texts)


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise ConfigurationError(f"There is no {what} {name!r}.{did_you_mean(name, known)}")
