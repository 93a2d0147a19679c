"""Who is learnt from, who is chosen on, and who tests: one split for the model and for every baseline.

By time, the test rows lie after everything learnt from: a training label must have been known before the first
test text was written, or the future would leak. A part of the users is held out of training altogether; they
choose when to stop, and at the test cut-offs they show how the model does on users it never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from segadmin.errors import DataError
from segadmin.labels.parts import HELD_OUT

#: Share of the cut-offs, the latest, that test where the labels do not say which do.
_TEST_CUTOFFS = 0.4
#: Fewer rows than this in a part, and its figures are noise.
LEAST = {"train": 20, "validation": 5, "test": 5}


def split_rows(
    labels: pl.DataFrame,
    segments: Sequence[str],
    by: str,
    seed: int,
    definition: Mapping[str, Any],
    *,
    held_out: float = HELD_OUT,
) -> pl.DataFrame:
    """Put every labelled row in a part.

    Args:
        labels: ``user_key``, ``segment``, ``as_of`` and ``outcome_until`` (when the label was known), none null.
        segments: in the order of the model's outputs.
        by: ``"time"`` or ``"user"``.
        seed: of the choice of users.
        definition: of the label set; its ``test_cuts`` (ISO 8601), if any, are the cut-offs that test.
        held_out: share of the users who choose when to stop; by user, as many again test.

    Returns:
        ``user_key``, ``as_of``, ``target`` (Int64), ``part`` (``train``, ``validation``, ``test``, or ``purged``: known
        too late to learn from) and ``unseen`` (no row of the user is in ``train``).

    Raises:
        DataError: the rows cannot be split so, with what would mend it.
    """
    order = pl.Enum(list(segments))
    rows = labels.select(
        "user_key",
        "as_of",
        "outcome_until",
        pl.col("segment").cast(order).to_physical().cast(pl.Int64).alias("target"),
        pl.Series("draw", draw(labels["user_key"].to_numpy(), seed)),
    )
    part = _by_time(rows, definition, held_out) if by == "time" else _by_user(held_out)
    rows = rows.with_columns(part.alias("part"))
    learnt_from = rows.filter(pl.col("part") == "train")["user_key"].unique()
    rows = rows.with_columns(unseen=~pl.col("user_key").is_in(learnt_from.implode()))
    _check(rows, segments, by)
    return rows.select("user_key", "as_of", "target", "part", "unseen").sort("as_of", "user_key")


def learnable(labels: pl.DataFrame, split: pl.DataFrame, by: str, seed: int, held_out: float) -> pl.DataFrame:
    """Return the rows of another label set that may be learnt beside ``split``, which :func:`split_rows` returned.

    They were known before its first test row, and none is of a user that it holds out.
    """
    kept_apart = 2 * held_out if by == "user" else held_out
    kept = labels.filter(pl.Series(draw(labels["user_key"].to_numpy(), seed) >= kept_apart))
    if by == "user":
        return kept
    first_test = split.filter(pl.col("part") == "test")["as_of"].min()
    return kept.filter(pl.col("as_of") < first_test, pl.col("outcome_until") <= first_test)


def replayed(split: pl.DataFrame, learnt: Sequence[datetime], share: float, seed: int) -> pl.DataFrame:
    """Return ``split`` with the training rows of the cut-offs ``learnt`` set aside, but for a ``share`` of them.

    A model that is taught further forgets what it is not shown again (experience replay, Rolnick et al. 2019).

    Raises:
        DataError: no training row is new.
    """
    old = (pl.col("part") == "train") & pl.col("as_of").is_in(list(learnt))
    if not split.filter((pl.col("part") == "train") & ~pl.col("as_of").is_in(list(learnt))).height:
        raise DataError(
            "Nothing is new since that version learnt: the labels have no later training cut-off. Label later weeks "
            "(segadmin data label … -o train_cuts=…), or show it everything again: --replay 1"
        )
    again = pl.Series(draw(split["user_key"].to_numpy(), seed + 2) < share)
    return split.with_columns(part=pl.when(old & ~again).then(pl.lit("learnt")).otherwise("part"))


def fold_of(user_keys: np.ndarray[Any, Any], folds: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the fold of every row, from 0 on; all rows of a user are in one. Not the draw that holds users out."""
    folds_of_rows: np.ndarray[Any, np.dtype[np.int64]] = np.floor(draw(user_keys, seed + 1) * folds).astype(np.int64)
    return folds_of_rows


def draw(user_keys: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a number in [0, 1) for every user key, the same wherever and whenever it is drawn (SplitMix64)."""
    offset = np.uint64(seed * 0x9E3779B97F4A7C15 % (1 << 64))
    mixed = user_keys.astype(np.int64).view(np.uint64) + offset
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    drawn: np.ndarray[Any, np.dtype[np.float64]] = (mixed >> np.uint64(11)) / float(1 << 53)
    return drawn


def _by_time(rows: pl.DataFrame, definition: Mapping[str, Any], held_out: float) -> pl.Expr:
    first_test = _first_test_cutoff(rows, definition)
    known = (pl.col("as_of") < first_test) & (pl.col("outcome_until") <= first_test)
    return (
        pl.when(pl.col("as_of") >= first_test)
        .then(pl.lit("test"))
        .when(~known)
        .then(pl.lit("purged"))
        .when(pl.col("draw") < held_out)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )


def _first_test_cutoff(rows: pl.DataFrame, definition: Mapping[str, Any]) -> datetime:
    marked = [datetime.fromisoformat(str(moment)) for moment in definition.get("test_cuts") or ()]
    cutoffs: list[datetime] = rows["as_of"].unique().sort().to_list()
    if len(cutoffs) < 2:
        raise DataError(
            f"All labels speak of one moment ({cutoffs[0]:%Y-%m-%d}), so nothing later is left to test on. "
            "Keep users apart instead: --split user, or label at several cut-offs."
        )
    return min(marked) if marked else cutoffs[-max(1, int(len(cutoffs) * _TEST_CUTOFFS))]


def _by_user(held_out: float) -> pl.Expr:
    return (
        pl.when(pl.col("draw") < held_out)
        .then(pl.lit("validation"))
        .when(pl.col("draw") < 2 * held_out)
        .then(pl.lit("test"))
        .otherwise(pl.lit("train"))
    )


def _check(rows: pl.DataFrame, segments: Sequence[str], by: str) -> None:
    counts: dict[str, int] = dict(rows["part"].value_counts().iter_rows())
    for part, least in LEAST.items():
        if counts.get(part, 0) < least:
            purged = counts.get("purged", 0)
            too_late = f"; {purged} rows whose label was known only after the first test cut-off do not count"
            raise DataError(
                f"Split by {by}, {rows.height} labelled rows leave {counts.get(part, 0)} for {part}, "
                f"{least} are needed{too_late if purged else ''}. Label more users or cut-offs, "
                f"or try --split {'user' if by == 'time' else 'time'}."
            )
    trained = set(rows.filter(pl.col("part") == "train")["target"].unique())
    missing = [segment for n, segment in enumerate(segments) if n not in trained]
    if missing:
        raise DataError(
            f"No training row is in the segment {missing[0]!r}; a model cannot learn it. "
            "Label users of it, or derive other labels: segadmin data label --help"
        )
