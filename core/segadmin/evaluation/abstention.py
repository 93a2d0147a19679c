"""Abstention: users stay unassigned if the model is not confident enough.

What is asked is how often an answer is right (``--min-precision``). For each segment the validation users that the
model puts there are lined up by how sure it is; from the lowest confidence on at which they are surely right so often,
answers are given (selective classification, Geifman and El-Yaniv 2017). And the answer itself depends on how long a
history is: where what is commonest was right more than the model was, what is commonest is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Examples
from segadmin.contracts.event_kinds import KINDS
from segadmin.evaluation.policy import Answer, Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Upper bounds of the history lengths, in events of the window.
HISTORIES = (0, 5, 20, 50, 100, 200, 500)
#: Minimum number of validation users: of a history length, and above a threshold.
_MIN_ROWS_OF_LENGTH, _MIN_ROWS_ABOVE = 30, 10


def events_of(examples: Examples) -> NDArray[np.int64]:
    """Return the number of events of each user in the window, ``(n_rows,)``."""
    import numpy as np

    names = [f"{kind}_events" for kind in KINDS]
    columns = [examples.feature_names.index(name) for name in names if name in examples.feature_names]
    events: NDArray[np.int64] = np.nan_to_num(examples.features[:, columns]).sum(axis=1).astype(np.int64)
    return events


def history_lengths(events: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of the history length of each number of events; ``len(HISTORIES)`` beyond the last bound."""
    import numpy as np

    return np.searchsorted(np.asarray(HISTORIES), events, side="left")


def learn_policy(probabilities: NDArray[np.float64], validation: Examples, train_targets: NDArray[np.int64]) -> Policy:
    """Return by history length whether users get the ``prior`` (how common each segment is) or the ``model``.

    The one with the lower log-loss on validation is chosen. A length with too few rows takes the choice of the next
    longer one; users without events always get the prior.
    """
    import numpy as np

    from segadmin.evaluation.metrics import log_loss

    segments = len(validation.segments)
    prior = (np.bincount(train_targets, minlength=segments) + 1.0) / (len(train_targets) + segments)
    length_of = history_lengths(events_of(validation)) if len(validation) else np.empty(0, np.int64)
    answers: list[Answer] = ["model"] * (len(HISTORIES) + 1)
    for length in reversed(range(len(answers))):
        rows = length_of == length
        if length == 0:
            answers[0] = "prior"
        elif rows.sum() >= _MIN_ROWS_OF_LENGTH:
            targets = validation.targets[rows]
            prior_loss = log_loss(np.tile(prior, (len(targets), 1)), targets)
            answers[length] = "prior" if prior_loss < log_loss(probabilities[rows], targets) else "model"
        elif length + 1 < len(answers):
            answers[length] = answers[length + 1]
    return Policy(prior=tuple(round(float(share), 6) for share in prior), answers=tuple(answers))


def apply_policy(probabilities: NDArray[np.float64], examples: Examples, policy: Policy | None) -> NDArray[np.float64]:
    """Return ``probabilities``, replaced by the prior for the history lengths that the policy selects."""
    import numpy as np

    if (
        policy is None
        or not policy.prior
        or not len(examples)
        or not any(f"{kind}_events" in examples.feature_names for kind in KINDS)
    ):
        return probabilities
    prior = np.asarray(policy.prior)
    from_prior = np.asarray([answer == "prior" for answer in policy.answers])[history_lengths(events_of(examples))]
    return np.where(from_prior[:, None], prior / prior.sum(), probabilities)


def learn_thresholds(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], precision: float
) -> list[float | None]:
    """Return the minimum probability of each segment for users to be assigned; ``None`` if no threshold suffices.

    Args:
        probabilities: of validation rows, calibrated, ``(n_rows, n_segments)``.
        targets: their segments.
        precision: minimum fraction of the assigned users who are truly in the segment.
    """
    import numpy as np

    predicted, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    thresholds: list[float | None] = []
    for segment in range(probabilities.shape[1]):
        in_segment = predicted == segment
        order = np.argsort(-confidences[in_segment], kind="stable")
        descending, correct = confidences[in_segment][order], (targets[in_segment] == segment)[order]
        # The lower bound of Wilson's 95 % interval, as the highest of many fractions is also high by chance.
        rows = np.arange(1, len(correct) + 1)
        lower_bound = _wilson_lower_bound(np.cumsum(correct) / rows, rows)
        # Rows with equal confidence stay together.
        last = np.append(descending[1:] < descending[:-1], True) if len(descending) else np.empty(0, bool)
        sufficient = np.flatnonzero(
            (lower_bound >= precision) & last & (np.arange(len(correct)) + 1 >= _MIN_ROWS_ABOVE)
        )
        thresholds.append(float(descending[sufficient[-1]]) if len(sufficient) else None)
    return thresholds


def _wilson_lower_bound(fraction: NDArray[np.float64], rows: NDArray[np.int64], z: float = 1.96) -> NDArray[np.float64]:
    """Return the lower bound of Wilson's interval of a fraction observed in ``rows`` rows (Wilson 1927)."""
    import numpy as np

    spread = z * np.sqrt(fraction * (1 - fraction) / rows + z**2 / (4 * rows**2))
    low: NDArray[np.float64] = (fraction + z**2 / (2 * rows) - spread) / (1 + z**2 / rows)
    return low


def assigned_mask(
    probabilities: NDArray[np.floating[Any]], events: NDArray[np.int64], thresholds: Sequence[float | None]
) -> NDArray[np.bool_]:
    """Return which users are assigned, ``(n_rows,)``: all without thresholds; else never users without events."""
    import numpy as np

    if not thresholds:
        return np.ones(len(probabilities), bool)
    minimum = np.asarray([2.0 if threshold is None else threshold - 1e-6 for threshold in thresholds])
    confident: NDArray[np.bool_] = probabilities.max(axis=1) >= minimum[probabilities.argmax(axis=1)]
    return confident & (events > 0)


def selective_metrics(
    probabilities: NDArray[np.float64], examples: Examples, thresholds: Sequence[float | None]
) -> dict[str, float | None]:
    """Return the fraction of ``examples`` that is assigned, ``coverage``, and its precision, ``precision_placed``."""
    assigned = assigned_mask(probabilities, events_of(examples), thresholds)
    correct = probabilities.argmax(axis=1) == examples.targets
    return {
        "coverage": float(assigned.mean()) if len(assigned) else None,
        "precision_placed": float(correct[assigned].mean()) if assigned.any() else None,
    }
