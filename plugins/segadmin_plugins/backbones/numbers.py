"""What every backbone's numbers go through: features in the fitted order, class weights, coefficients, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segadmin.errors import DataError
from segadmin.evaluation.metrics import one_vs_rest_auroc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segadmin.contracts.backbone import Examples


def features_of(examples: Examples, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the features called ``names``, in that order, ``(n_rows, len(names)) float32``; infinities are NaN.

    Raises:
        DataError: the examples lack a feature that the model was fitted on.
    """
    lacking = [name for name in names if name not in examples.feature_names]
    if lacking:
        raise DataError(
            f"The model was fitted on the features {', '.join(lacking)}, which these users lack. "
            "Textualize them with the model's own recipe."
        )
    if not names:
        return np.empty((len(examples), 0), np.float32)
    order = [examples.feature_names.index(name) for name in names]
    values = examples.features[:, order].astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def class_weights(targets: NDArray[np.int64], n_segments: int) -> NDArray[np.float32]:
    """Return a weight per segment, inverse to how common it is, 1 on average over ``targets``; at most 20."""
    counts = np.bincount(targets, minlength=n_segments)
    present = int((counts > 0).sum())
    weights = len(targets) / (max(present, 1) * np.maximum(counts, 1))
    return np.minimum(weights, 20.0).astype(np.float32)


def balanced_odds(targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how often to draw each row, 1 on average, so that every segment that occurs is drawn equally often.

    Rows of no known segment (negative targets) are drawn as often as they are.
    """
    odds = np.ones(len(targets))
    known = targets >= 0
    if known.any():
        counts = np.bincount(targets[known])
        odds[known] = known.sum() / ((counts > 0).sum() * counts[targets[known]])
    return odds


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the probabilities of ``logits``, row by row."""
    if not len(logits):
        return logits.astype(np.float32)
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def auroc(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the macro one-vs-rest AUROC over the segments that can be ranked; NaN where none can."""
    each = [one_vs_rest_auroc(scores, targets == segment) for segment, scores in enumerate(probabilities.T)]
    known = [one for one in each if one is not None]
    return float(np.mean(known)) if known else float("nan")


def rows_of_all_segments(model: Any, n_segments: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and bias per segment; one that no training user is in gets next to no probability."""
    weights, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two segments
        weights, bias = np.concatenate([0 * weights, weights]), np.concatenate([0 * bias, bias])
    all_weights = np.zeros((n_segments, weights.shape[1]), np.float32)
    all_bias = np.full(n_segments, -20.0, np.float32)
    all_weights[model.classes_], all_bias[model.classes_] = weights, bias
    return all_weights, all_bias
