"""Hysteresis: a user moves to another segment only if it leads the present one by a margin.

Margins are chosen on validation rows. A margin can only hold users back in a segment that is nearly as probable as the
new one. So the choice assumes the worst: every validation user comes from the segment that is second most probable now.
Segment by segment, the largest margin is taken for which macro-F1 is not lower than without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segadmin.evaluation.policy import Hysteresis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The margins that are tried: steps of 0.02 up to 0.5.
_STEP, _STEPS = 0.02, 25


def learn_margins(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> Hysteresis:
    """Return the margins of hysteresis by segment.

    Args:
        probabilities: of validation rows, calibrated, ``(n_rows, n_segments)``.
        targets: their segments.
    """
    import numpy as np

    segments = probabilities.shape[1]
    margins = np.zeros(segments)
    if not len(targets):
        return Hysteresis(margins=(0.0,) * segments)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(probabilities, order, axis=1).T

    def quality(margins: NDArray[np.float64]) -> float:
        is_held = first - second < margins[order[:, 0]]
        return _macro_f1(np.where(is_held, order[:, 1], order[:, 0]), targets, segments)

    without = quality(margins)
    for segment in range(segments):
        for step in range(_STEPS, 0, -1):
            tried = margins.copy()
            tried[segment] = round(step * _STEP, 2)
            if quality(tried) >= without:
                margins = tried
                break
    return Hysteresis(
        margins=tuple(float(margin) for margin in margins),
        rows=len(targets),
        macro_f1=without,
        macro_f1_held=quality(margins),
    )


def _macro_f1(predicted: NDArray[np.int64], targets: NDArray[np.int64], segments: int) -> float:
    """Return the mean F1 of all segments; a segment that nobody is in and nobody is put in has 0."""
    import numpy as np

    counts = [np.bincount(rows, minlength=segments) for rows in (predicted, targets, targets[predicted == targets])]
    return float(np.mean(2 * counts[2] / np.maximum(counts[0] + counts[1], 1)))
