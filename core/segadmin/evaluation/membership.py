"""Membership attack: how well training users can be distinguished from others by the loss of a model.

The attacker knows users, their segments and their probabilities, and guesses that the model was trained on those whose
segment it predicts best (Yeom, Giacomelli, Fredrikson and Jha: Privacy Risk in Machine Learning. CSF 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from segadmin.evaluation.bootstrap import LEAST_USERS, RESAMPLES, Interval, auroc_draws

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Losses = NDArray[np.floating[Any]]
    Indices = NDArray[np.int64]

#: Above this, and with an interval above 0.5, the card warns.
LARGEST_AUC = 0.53
#: Maximum number of rows on each side: half the width of the interval is then some 0.015.
MAX_ROWS = 3_000


@dataclass(frozen=True)
class MembershipAttack:
    """The result of the attack on a model version."""

    auc: Interval  #: 0.5: training rows cannot be distinguished from held-out rows
    trained: int  #: rows
    held_out: int  #: rows of users whom the model was not trained on
    part: str  #: of the split, of the held-out rows

    @property
    def is_high(self) -> bool:
        """Whether the model reveals whom it was trained on; never with too few users for an interval."""
        return self.auc.value > LARGEST_AUC and self.auc.low is not None and self.auc.low > 0.5


def attack_auc(
    trained: Losses, held_out: Losses, trained_users: NDArray[np.int64], held_out_users: NDArray[np.int64]
) -> Interval:
    """Return the AUC of guessing by a low loss that a row was trained on; its interval is over users.

    No bounds with fewer than :data:`segadmin.evaluation.bootstrap.LEAST_USERS` users on either side.
    """
    import numpy as np

    users = (trained_users, held_out_users)
    enough = min(len(np.unique(keys)) for keys in users) >= LEAST_USERS
    score = -np.concatenate([trained, held_out])
    was_trained = np.repeat([1, 0], [len(trained), len(held_out)])
    draws = auroc_draws(
        np.stack([-score, score], axis=1), was_trained, np.concatenate(users), RESAMPLES if enough else 0
    )
    return Interval.of(float(draws[0]), draws[1:]) if enough else Interval(float(draws[0]), None, None)


def matched_rows(
    trained: pl.DataFrame, held_out: pl.DataFrame, seed: int, rows: int = MAX_ROWS
) -> tuple[Indices, Indices]:
    """Return the indices of as many rows of both (``user_key``, ``as_of``) in every week, at most ``rows`` of each.

    Without this, a change of behaviour over time would look like membership. Users are chosen at random by ``seed``.
    """
    import polars as pl

    weeks = [_by_week(frame, seed) for frame in (trained, held_out)]
    counts = [frame.group_by("week").len(f"rows_{n}") for n, frame in enumerate(weeks)]
    common = counts[0].join(counts[1], on="week").select("week", rows=pl.min_horizontal("rows_0", "rows_1"))
    share = min(1.0, rows / max(common["rows"].sum(), 1))
    first, second = (
        frame.join(common, on="week").filter(pl.col("rank") <= pl.col("rows") * share)["row"].sort().to_numpy()
        for frame in weeks
    )
    return first, second


def _by_week(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return ``row`` (its index), ``week`` and ``rank`` of every row: the order in which rows of a week are chosen."""
    import polars as pl

    from segadmin.labels.split import draw

    drawn = pl.Series("draw", draw(rows["user_key"].to_numpy(), seed + 3))
    frame = rows.select(week=pl.col("as_of").dt.truncate("1w")).with_columns(drawn).with_row_index("row")
    return frame.with_columns(rank=pl.col("draw").rank("ordinal").over("week")).drop("draw")
