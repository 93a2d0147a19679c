"""Train, validation and test splits: one split for the model and for every baseline.

By time, the test rows are later than all training data: a training label must have been known before the first
test cut-off, or the future would leak. A fraction of the users is held out of training; their rows are used for
early stopping, and, at the test cut-offs, to measure the model on unseen users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from segadmin.counts import counted
from segadmin.errors import DataError
from segadmin.hashing import GOLDEN_GAMMA, splitmix64
from segadmin.labels.parts import HELD_OUT, Part

#: Fraction of the cut-offs, the latest, that are for testing if the label set does not define test cut-offs.
_TEST_CUTOFFS = 0.4
#: Minimum number of rows of a part; with fewer, its metrics are noise.
LEAST = {Part.TRAIN: 20, Part.VALIDATION: 5, Part.TEST: 5}
#: Why rows are in none of these parts.
_LEFT_OUT = {
    Part.PURGED: "whose label was known only after the first test cut-off do not count",
    Part.DUPLICATE: "whose text is that of another user in another part do not count",
}


def split_rows(
    labels: pl.DataFrame,
    segments: Sequence[str],
    by: str,
    seed: int,
    definition: Mapping[str, Any],
    *,
    held_out: float = HELD_OUT,
) -> pl.DataFrame:
    """Assign every labelled row to a part.

    Args:
        labels: ``user_key``, ``segment``, ``as_of`` and ``outcome_until`` (when the label was known), none null.
        segments: in the order of the model's outputs.
        by: ``"time"`` or ``"user"``.
        seed: of the random choice of users.
        definition: of the label set; its ``test_cuts`` (ISO 8601), if any, are the test cut-offs.
        held_out: fraction of the users for validation; by user, the same fraction is for testing.

    Returns:
        ``user_key``, ``as_of``, ``target`` (Int64), ``part`` (``train``, ``validation``, ``test``, or ``purged``: the
        label was known too late for training) and ``unseen`` (no row of the user is in ``train``).

    Raises:
        DataError: a part would have too few rows, or a segment no training rows; with the fix.
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
    trained_users = rows.filter(pl.col("part") == Part.TRAIN.value)["user_key"].unique()
    rows = rows.with_columns(unseen=~pl.col("user_key").is_in(trained_users.implode()))
    check_parts(rows, segments, by)
    return rows.select("user_key", "as_of", "target", "part", "unseen").sort("as_of", "user_key")


def trainable_rows(labels: pl.DataFrame, split: pl.DataFrame, by: str, seed: int, held_out: float) -> pl.DataFrame:
    """Return the rows of an auxiliary label set that may be trained on with ``split``, see :func:`split_rows`.

    They were known before its first test row, and none is of a held-out user.
    """
    held_out_total = 2 * held_out if by == "user" else held_out
    allowed = labels.filter(pl.Series(draw(labels["user_key"].to_numpy(), seed) >= held_out_total))
    if by == "user":
        return allowed
    first_test = split.filter(pl.col("part") == Part.TEST.value)["as_of"].min()
    return allowed.filter(pl.col("as_of") < first_test, pl.col("outcome_until") <= first_test)


def with_replay(split: pl.DataFrame, trained_cutoffs: Sequence[datetime], share: float, seed: int) -> pl.DataFrame:
    """Return ``split`` without the training rows of the cut-offs ``trained_cutoffs``, except a ``share`` of them.

    Training further on new rows only would make the model forget the old ones (experience replay, Rolnick et al.
    2019).

    Raises:
        DataError: no training row is new.
    """
    already_learnt = (pl.col("part") == Part.TRAIN.value) & pl.col("as_of").is_in(list(trained_cutoffs))
    if not split.filter((pl.col("part") == Part.TRAIN.value) & ~pl.col("as_of").is_in(list(trained_cutoffs))).height:
        raise DataError(
            "Nothing is new since that version was trained: the labels have no later training cut-off. "
            "Label later weeks (segadmin data label … -o train_cuts=…), or train on all rows again: --replay 1"
        )
    replay = pl.Series(draw(split["user_key"].to_numpy(), seed + 2) < share)
    return split.with_columns(part=pl.when(already_learnt & ~replay).then(pl.lit(Part.LEARNT.value)).otherwise("part"))


def fold_of(user_keys: np.ndarray[Any, Any], folds: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the fold of every row, from 0; all rows of a user are in one fold.

    Folds are independent of the draw that holds users out.
    """
    folds_of_rows: np.ndarray[Any, np.dtype[np.int64]] = np.floor(draw(user_keys, seed + 1) * folds).astype(np.int64)
    return folds_of_rows


def draw(user_keys: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a number in [0, 1) for every user key, the same wherever and whenever it is drawn (SplitMix64)."""
    offset = np.uint64(seed * GOLDEN_GAMMA % (1 << 64))
    mixed = splitmix64(user_keys.astype(np.int64).view(np.uint64) + offset)
    drawn: np.ndarray[Any, np.dtype[np.float64]] = (mixed >> np.uint64(11)) / float(1 << 53)
    return drawn


def _by_time(rows: pl.DataFrame, definition: Mapping[str, Any], held_out: float) -> pl.Expr:
    first_test = first_test_cutoff(rows["as_of"].unique().sort().to_list(), definition)
    known_in_time = (pl.col("as_of") < first_test) & (pl.col("outcome_until") <= first_test)
    return (
        pl.when(pl.col("as_of") >= first_test)
        .then(pl.lit(Part.TEST.value))
        .when(~known_in_time)
        .then(pl.lit(Part.PURGED.value))
        .when(pl.col("draw") < held_out)
        .then(pl.lit(Part.VALIDATION.value))
        .otherwise(pl.lit(Part.TRAIN.value))
    )


def first_test_cutoff(cutoffs: Sequence[datetime], definition: Mapping[str, Any]) -> datetime:
    """Return the first of ``cutoffs``, in order, that is for testing.

    Raises:
        DataError: there is only one.
    """
    test_cuts = [datetime.fromisoformat(str(moment)) for moment in definition.get("test_cuts") or ()]
    if len(cutoffs) < 2:
        raise DataError(
            f"All labels have the same cut-off ({cutoffs[0]:%Y-%m-%d}), so no later one is left to test on. "
            "Split by user instead: --split user, or label at several cut-offs."
        )
    return min(test_cuts) if test_cuts else cutoffs[-max(1, int(len(cutoffs) * _TEST_CUTOFFS))]


def _by_user(held_out: float) -> pl.Expr:
    return (
        pl.when(pl.col("draw") < held_out)
        .then(pl.lit(Part.VALIDATION.value))
        .when(pl.col("draw") < 2 * held_out)
        .then(pl.lit(Part.TEST.value))
        .otherwise(pl.lit(Part.TRAIN.value))
    )


def check_parts(rows: pl.DataFrame, segments: Sequence[str], by: str) -> None:
    """Check that a model can be trained on the split ``rows`` (``part``, ``target``) and tested.

    Raises:
        DataError: a part has too few rows, or a segment no training rows; with the fix.
    """
    counts: dict[str, int] = dict(rows["part"].value_counts().iter_rows())
    reasons = "".join(
        f"; {counted(counts[part], 'row')} {reason}" for part, reason in _LEFT_OUT.items() if counts.get(part, 0)
    )
    for part, minimum in LEAST.items():
        if counts.get(part, 0) < minimum:
            raise DataError(
                f"Split by {by}, {rows.height} labelled rows leave {counts.get(part, 0)} for {part}, "
                f"{minimum} are needed{reasons}. Label more users or cut-offs, "
                f"or try --split {'user' if by == 'time' else 'time'}."
            )
    trained = set(rows.filter(pl.col("part") == Part.TRAIN.value)["target"].unique())
    missing = [segment for n, segment in enumerate(segments) if n not in trained]
    if missing:
        raise DataError(
            f"No training row is in the segment {missing[0]!r}; a model cannot learn it. "
            "Label users of it, or derive other labels: segadmin data label --help"
        )
