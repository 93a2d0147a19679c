"""What models said of each test row, so that they can be compared row by row."""

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
    """Return the probabilities of every test row, and how many events the user had in the window."""
    return test.frame.select(
        *_KEY,
        "target",
        "unseen",
        events=pl.Series(events_of(test)),
        probabilities=pl.Series(probabilities.astype("float32")).cast(pl.List(pl.Float32)),
    )


@dataclass(frozen=True)
class Comparison:
    """Two models on the rows that both were tested on."""

    rows: int
    users: int
    one: float  #: AUROC
    other: float
    lead: Interval  #: of the first over the second
    erased: int = 0  #: of either: test rows of users who were erased since


def compare_predictions(one: pl.DataFrame, other: pl.DataFrame) -> Comparison | None:
    """Return how two models do on the same rows; ``None`` where they have none in common, or nothing can be ranked."""
    import numpy as np

    from segadmin.evaluation.bootstrap import auroc_draws

    both = one.join(other, on=[*_KEY, "target"], suffix="_other")
    if both.is_empty():
        return None
    mine, theirs = probabilities_of(both["probabilities"]), probabilities_of(both["probabilities_other"])
    if mine.shape != theirs.shape:
        return None
    targets, users = both["target"].to_numpy(), both["user_key"].to_numpy()
    alone = [float(auroc_draws(found, targets, users, 0)[0]) for found in (mine, theirs)]
    if not np.isfinite(alone).all():
        return None
    users_compared = both["user_key"].n_unique()
    return Comparison(both.height, users_compared, alone[0], alone[1], difference(mine, theirs, targets, users))


def probabilities_of(column: pl.Series) -> NDArray[np.float32]:
    """Return a column of lists as ``(n_rows, n_segments) float32``."""
    width = len(column[0]) if len(column) else 0
    found: NDArray[np.float32] = column.cast(pl.Array(pl.Float32, width)).to_numpy()
    return found
