"""The metrics of a model on a split, as rows of the table of evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Examples
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.evaluation.metrics import confusion, measure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]


def evaluations(name: str, probabilities: NDArray[np.float64], test: Examples) -> list[Json]:
    """Return the metrics on the test rows, and on those of unseen users, as rows of ``Evaluation``."""
    rows = [evaluation(name, EvaluatedOn.TEST, probabilities, test.targets, test.segments)]
    unseen = test.frame["unseen"].to_numpy()
    if unseen.any() and not unseen.all():
        selected = probabilities[unseen], test.targets[unseen]
        rows.append(evaluation(name, EvaluatedOn.UNSEEN, *selected, test.segments))
    return rows


def evaluation(
    name: str,
    split: EvaluatedOn,
    probabilities: NDArray[np.float64],
    targets: NDArray[np.int64],
    segments: tuple[str, ...],
) -> Json:
    """Return the metrics on one split as a row of ``Evaluation``."""
    return {
        "name": name,
        "split": split.value,
        "rows": len(targets),
        "metrics": measure(probabilities, targets, segments),
        "confusion": confusion(probabilities, targets),
    }
