"""Predictions for single test rows, and the paired comparison of two models on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.evaluation.abstention import events_of
from segadmin.evaluation.bootstrap import Interval, difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEY = ["user_key", "as_of"]


def predictions_frame(test: Examples, probabilities: NDArray[np.float64]) -> pl.DataFrame:
    """Return the probabilities of every test row, and the number of the user's events in the window."""
    return test.frame.select(
        *_KEY,
        "target",
        "unseen",
        events=pl.Series(events_of(test)),
        probabilities=pl.Series(probabilities.astype("float32")).cast(pl.List(pl.Float32)),
    )


@dataclass(frozen=True)
class Comparison:
    """The comparison of two models on the test rows that they share."""

    rows: int
    users: int
    one: float  #: AUROC
    other: float
    lead: Interval  #: AUROC of the first minus that of the second
    erased: int = 0  #: test rows of users who were erased since, of the model with more of them


def compare_predictions(first: pl.DataFrame, second: pl.DataFrame) -> Comparison | None:
    """Return the comparison of two models on their shared rows; ``None`` without any, or if AUROC is undefined."""
    import numpy as np

    from segadmin.evaluation.bootstrap import auroc_draws

    shared = first.join(second, on=[*_KEY, "target"], suffix="_other")
    if shared.is_empty():
        return None
    pair = [probabilities_of(shared[column]) for column in ("probabilities", "probabilities_other")]
    if pair[0].shape != pair[1].shape:
        return None
    targets, users = shared["target"].to_numpy(), shared["user_key"].to_numpy()
    aurocs = [float(auroc_draws(probabilities, targets, users, 0)[0]) for probabilities in pair]
    if not np.isfinite(aurocs).all():
        return None
    users_compared = shared["user_key"].n_unique()
    lead = difference(pair[0], pair[1], targets, users)
    return Comparison(shared.height, users_compared, aurocs[0], aurocs[1], lead)


def probabilities_of(column: pl.Series) -> NDArray[np.float32]:
    """Return a column of lists as ``(n_rows, n_segments) float32``."""
    width = len(column[0]) if len(column) else 0
    probabilities: NDArray[np.float32] = column.cast(pl.Array(pl.Float32, width)).to_numpy()
    return probabilities
