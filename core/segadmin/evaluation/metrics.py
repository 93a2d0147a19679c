"""Metrics of predicted probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Probabilities = NDArray[np.floating[Any]]
    Targets = NDArray[np.int64]

#: The columns of every metrics table, in order, and their titles.
HEADLINES = {
    "auroc": "AUROC",
    "macro_f1": "F1",
    "accuracy": "acc.",
    "macro_precision": "prec.",
    "macro_recall": "recall",
    "log_loss": "log-loss",
    "ece": "ECE",
}
LOWER_IS_BETTER = frozenset({"log_loss", "ece"})
_BINS = 15


def measure(probabilities: Probabilities, targets: Targets, segments: Sequence[str]) -> dict[str, Any]:
    """Return every metric of one split, JSON only.

    Macro metrics are means over the segments that occur among ``targets``; those of a segment that does not occur
    are ``None``. A segment that occurs but is never predicted has precision 0.

    Args:
        probabilities: ``(n_rows, n_segments)``, rows summing to 1.
        targets: ``(n_rows,)``, indices into ``segments``.
        segments: the segments, in the order of the columns.

    Returns:
        The :data:`HEADLINES` and ``segments``: for each segment its ``precision``, ``recall``, ``f1``, ``auroc``
        and ``support`` (rows that are truly in it). All but ``support`` are ``None`` where undefined.
    """
    from sklearn.metrics import precision_recall_fscore_support

    if not len(targets):
        return {**dict.fromkeys(HEADLINES), "segments": {}}
    predicted = probabilities.argmax(axis=1)
    columns = range(len(segments))
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=list(columns), zero_division=0.0
    )
    by_segment: dict[str, dict[str, Any]] = {}
    for n, segment in enumerate(segments):
        occurs = support[n] > 0
        by_segment[segment] = {
            "precision": float(precision[n]) if occurs else None,
            "recall": float(recall[n]) if occurs else None,
            "f1": float(f1[n]) if occurs else None,
            "auroc": one_vs_rest_auroc(probabilities[:, n], targets == n),
            "support": int(support[n]),
        }
    return {
        "auroc": _mean(metrics["auroc"] for metrics in by_segment.values()),
        "macro_f1": _mean(metrics["f1"] for metrics in by_segment.values()),
        "accuracy": float((predicted == targets).mean()),
        "macro_precision": _mean(metrics["precision"] for metrics in by_segment.values()),
        "macro_recall": _mean(metrics["recall"] for metrics in by_segment.values()),
        "log_loss": log_loss(probabilities, targets),
        "ece": expected_calibration_error(probabilities, targets),
        "segments": by_segment,
    }


def confusion(probabilities: Probabilities, targets: Targets) -> list[list[int]]:
    """Return the number of rows by true segment (row) and predicted segment (column)."""
    from sklearn.metrics import confusion_matrix

    columns = list(range(probabilities.shape[1]))
    if not len(targets):
        return [[0] * len(columns) for _ in columns]
    counts: list[list[int]] = confusion_matrix(targets, probabilities.argmax(axis=1), labels=columns).tolist()
    return counts


def one_vs_rest_auroc(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve, or ``None`` if all rows are of one class."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, scores))


def log_loss(probabilities: Probabilities, targets: Targets) -> float:
    """Return the mean of the :func:`losses`."""
    return float(losses(probabilities, targets).mean())


def losses(probabilities: Probabilities, targets: Targets) -> NDArray[np.floating[Any]]:
    """Return the negative log-probability (nats) of each row's true segment; probabilities are clipped at 1e-7."""
    import numpy as np

    of_target = probabilities[np.arange(len(targets)), targets]
    negative_logs: NDArray[np.floating[Any]] = -np.log(np.clip(of_target, 1e-7, 1.0))
    return negative_logs


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose highest probability lies in one bin, open below and closed above."""

    low: float
    high: float
    rows: int
    confidence: float  #: mean of the highest probabilities
    accuracy: float  #: fraction of the rows whose most probable segment is the true one


def reliability_curve(probabilities: Probabilities, targets: Targets, bins: int = _BINS) -> list[ReliabilityBin]:
    """Return how often the most probable segment is right, by its probability; empty bins are left out.

    Guo, Pleiss, Sun and Weinberger: On Calibration of Modern Neural Networks. ICML 2017, equation 2.
    """
    import numpy as np

    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == targets
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    rows = np.bincount(bin_of, minlength=bins)
    sums = (np.bincount(bin_of, weights=values, minlength=bins) for values in (confidence, correct))
    confidences, accuracies = (total / np.maximum(rows, 1) for total in sums)
    return [
        ReliabilityBin(n / bins, (n + 1) / bins, int(rows[n]), float(confidences[n]), float(accuracies[n]))
        for n in range(bins)
        if rows[n]
    ]


def expected_calibration_error(probabilities: Probabilities, targets: Targets, bins: int = _BINS) -> float:
    """Return the mean difference between confidence and accuracy, weighted by rows, over ``bins`` equal bins.

    Guo, Pleiss, Sun and Weinberger: On Calibration of Modern Neural Networks. ICML 2017, equation 3.
    """
    curve = reliability_curve(probabilities, targets, bins)
    return sum(bin_.rows * abs(bin_.accuracy - bin_.confidence) for bin_ in curve) / len(targets)


def _mean(values: Any) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
