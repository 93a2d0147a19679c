"""Arithmetic that several backbones share: class weights, probabilities, coefficients, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from segadmin.evaluation.metrics import one_vs_rest_auroc

if TYPE_CHECKING:
    from numpy.typing import NDArray


def class_weights(targets: NDArray[np.int64], n_segments: int) -> NDArray[np.float32]:
    """Return a weight per segment, inverse to its frequency, 1 on average over ``targets``; at most 20."""
    counts = np.bincount(targets, minlength=n_segments)
    present = int((counts > 0).sum())
    weights = len(targets) / (max(present, 1) * np.maximum(counts, 1))
    return np.minimum(weights, 20.0).astype(np.float32)


def balanced_odds(targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how often to draw each row, 1 on average, so that every segment that occurs is drawn equally often.

    Rows without a known segment (negative targets) keep odds of 1.
    """
    odds = np.ones(len(targets))
    labelled = targets >= 0
    if labelled.any():
        counts = np.bincount(targets[labelled])
        odds[labelled] = labelled.sum() / ((counts > 0).sum() * counts[targets[labelled]])
    return odds


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the probabilities of ``logits``, row by row."""
    if not len(logits):
        return logits.astype(np.float32)
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def auroc(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the macro one-vs-rest AUROC over the segments that can be ranked; NaN if none can."""
    each = [one_vs_rest_auroc(scores, targets == segment) for segment, scores in enumerate(probabilities.T)]
    defined = [value for value in each if value is not None]
    return float(np.mean(defined)) if defined else float("nan")


def rows_of_all_segments(model: Any, n_segments: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and bias per segment; segments without training users get a probability close to 0."""
    weights, bias = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two segments
        weights, bias = np.concatenate([0 * weights, weights]), np.concatenate([0 * bias, bias])
    all_weights = np.zeros((n_segments, weights.shape[1]), np.float32)
    all_bias = np.full(n_segments, -20.0, np.float32)
    all_weights[model.classes_], all_bias[model.classes_] = weights, bias
    return all_weights, all_bias
