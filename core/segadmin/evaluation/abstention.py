"""Who is not put in any segment: users of whom too little is known to be sure enough.

What is asked is how often an answer is right (``--min-precision``). For each segment the validation users that the
model puts there are lined up by how sure it is; from the lowest confidence on at which they are surely right so often,
answers are given (selective classification, Geifman and El-Yaniv 2017). And the answer itself depends on how long a
history is: where what is commonest was right more than the model was, what is commonest is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.contracts.event_kinds import KINDS
from segadmin.evaluation.policy import Answer, Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: History lengths, in events of the window: the upper ends.
HISTORIES = (0, 5, 20, 50, 100, 200, 500)
#: Fewer validation users than this show nothing: of a history length, and above a threshold.
_LEAST_OF_LENGTH, _LEAST_ABOVE = 30, 10


def events_of(examples: Examples) -> NDArray[np.int64]:
    """Return how many events each user has in the window, ``(n_rows,)``."""
    counted = [
        examples.feature_names.index(f"{kind}_events") for kind in KINDS if f"{kind}_events" in examples.feature_names
    ]
    summed = pl.sum_horizontal(pl.col("features").list.get(place) for place in counted) if counted else pl.lit(0.0)
    found: NDArray[np.int64] = examples.frame.with_columns(n=summed.fill_nan(0).fill_null(0).cast(pl.Int64))[
        "n"
    ].to_numpy()
    return found


def lengths(events: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each number of events among :data:`HISTORIES`; beyond the last is one more."""
    import numpy as np

    return np.searchsorted(np.asarray(HISTORIES), events, side="left")


def learn_policy(probabilities: NDArray[np.float64], validation: Examples, train_targets: NDArray[np.int64]) -> Policy:
    """Return whose probabilities are given, by history length: ``prior`` (how common each segment is) or ``model``.

    The one with the lower log-loss on validation. A length of too few rows does as the next longer one; of users
    without events nobody knows more than what is common.
    """
    import numpy as np

    from segadmin.evaluation.metrics import log_loss

    segments = len(validation.segments)
    common = (np.bincount(train_targets, minlength=segments) + 1.0) / (len(train_targets) + segments)
    places = lengths(events_of(validation)) if len(validation) else np.empty(0, np.int64)
    answers: list[Answer] = ["model"] * (len(HISTORIES) + 1)
    for place in reversed(range(len(answers))):
        here = places == place
        if place == 0:
            answers[0] = "prior"
        elif here.sum() >= _LEAST_OF_LENGTH:
            targets = validation.targets[here]
            of_prior = log_loss(np.tile(common, (len(targets), 1)), targets)
            answers[place] = "prior" if of_prior < log_loss(probabilities[here], targets) else "model"
        elif place + 1 < len(answers):
            answers[place] = answers[place + 1]
    return Policy(prior=tuple(round(float(share), 6) for share in common), answers=tuple(answers))


def answered(probabilities: NDArray[np.float64], examples: Examples, policy: Policy | None) -> NDArray[np.float64]:
    """Return ``probabilities`` with what is common where the policy says so."""
    import numpy as np

    if (
        policy is None
        or not policy.prior
        or not len(examples)
        or not any(f"{kind}_events" in examples.feature_names for kind in KINDS)
    ):
        return probabilities
    prior = np.asarray(policy.prior)
    from_prior = np.asarray([one == "prior" for one in policy.answers])[lengths(events_of(examples))]
    return np.where(from_prior[:, None], prior / prior.sum(), probabilities)


def learn_thresholds(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], precision: float
) -> list[float | None]:
    """Return, for each segment, how sure one must be to be put there; ``None`` where no confidence is enough.

    Args:
        probabilities: of validation rows, calibrated, ``(n_rows, n_segments)``.
        targets: their segments.
        precision: how often those put in a segment shall be right.
    """
    import numpy as np

    said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    found: list[float | None] = []
    for segment in range(probabilities.shape[1]):
        here = said == segment
        order = np.argsort(-sure[here], kind="stable")
        confidence, right = sure[here][order], (targets[here] == segment)[order]
        # The lower end of Wilson's 95 % interval: of many shares the highest is high by chance too.
        rows = np.arange(1, len(right) + 1)
        share = _lower_end(np.cumsum(right) / rows, rows)
        # Rows that are equally sure go together.
        last = np.append(confidence[1:] < confidence[:-1], True) if len(confidence) else np.empty(0, bool)
        good = np.flatnonzero((share >= precision) & last & (np.arange(len(right)) + 1 >= _LEAST_ABOVE))
        found.append(float(confidence[good[-1]]) if len(good) else None)
    return found


def _lower_end(share: NDArray[np.float64], rows: NDArray[np.int64], z: float = 1.96) -> NDArray[np.float64]:
    """Return the lower end of Wilson's interval of a share seen in so many rows (Wilson 1927)."""
    import numpy as np

    spread = z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    low: NDArray[np.float64] = (share + z**2 / (2 * rows) - spread) / (1 + z**2 / rows)
    return low


def placed(
    probabilities: NDArray[np.floating[Any]], events: NDArray[np.int64], thresholds: Sequence[float | None]
) -> NDArray[np.bool_]:
    """Return who is put in a segment, ``(n_rows,)``: all where there are no thresholds; nobody without events else."""
    import numpy as np

    if not thresholds:
        return np.ones(len(probabilities), bool)
    least = np.asarray([2.0 if one is None else one - 1e-6 for one in thresholds])
    sure: NDArray[np.bool_] = probabilities.max(axis=1) >= least[probabilities.argmax(axis=1)]
    return sure & (events > 0)


def selective(
    probabilities: NDArray[np.float64], examples: Examples, thresholds: Sequence[float | None]
) -> dict[str, float | None]:
    """Return the share of ``examples`` that is put in a segment, ``coverage``, and how often rightly."""
    there = placed(probabilities, events_of(examples), thresholds)
    right = probabilities.argmax(axis=1) == examples.targets
    return {
        "coverage": float(there.mean()) if len(there) else None,
        "precision_placed": float(right[there].mean()) if there.any() else None,
    }
