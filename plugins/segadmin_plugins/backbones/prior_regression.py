"""A regression with a prior on features of the same name, for few labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segadmin.contracts.backbone import Examples
from segadmin.labels.split import fold_of
from segadmin_plugins.backbones.features.matrix import features_of, scaled_features
from segadmin_plugins.backbones.features.scaling import Scaling
from segadmin_plugins.backbones.linear import LinearClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Ridge on the distance of each group's weight from its prior, and on the bias.
_RIDGE, _RIDGE_OF_BIAS = 2.0, 0.1
_STEPS = 500
_FOLDS = 5


def fit_prior_regression(
    train: Examples, validation: Examples, namesakes: Sequence[Sequence[str | None]], ridges: Sequence[float], seed: int
) -> LinearClassifier:
    """Fit a multinomial regression whose weights shrink towards those of the namesakes, not towards zero.

    See :func:`fit_with_prior`. Features are standardised on ``train``.

    Args:
        train: training rows.
        validation: rows for choosing the ridge; may be empty.
        namesakes: groups, each with the feature of every segment's namesake; ``None`` if there is none.
        ridges: strengths to try.
        seed: of the folds.
    """
    names = train.feature_names
    scaling = Scaling.fit(names, features_of(train, names))
    indices = [[None if name is None else names.index(name) for name in group] for group in namesakes]
    x, held_out = (Rows(scaled_features(rows, scaling).astype(np.float64), rows) for rows in (train, validation))
    weights, bias, report = fit_with_prior(x, held_out, indices, ridges, seed)
    return LinearClassifier(scaling, weights, bias, report)


@dataclass(frozen=True)
class Rows:
    """Columns of labelled rows."""

    x: NDArray[np.float64]  #: ``(n_rows, n_columns)``, of comparable scales
    examples: Examples


def fit_with_prior(
    train: Rows, validation: Rows, namesakes: Sequence[Sequence[int | None]], ridges: Sequence[float], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, Any]]:
    """Return the weights ``(n_segments, n_columns)`` and the bias of a regression with a prior, and a report.

    A feature with the probability of a segment of the same name, of another label set or an earlier time, should raise
    this segment only. That takes one weight for all segments, never negative, which a dozen labels suffice for; its
    prior is the same for all groups. All other weights are shrunk by one of ``ridges``. The ridge is chosen on
    validation and, because few labels leave few validation rows, by cross-validation over the users of the training
    rows: the largest whose loss is within one standard error of the best.

    Args:
        train: training rows.
        validation: rows for choosing the ridge; may be empty.
        namesakes: groups, each with the column of every segment's namesake; ``None`` if there is none.
        ridges: strengths to try.
        seed: of the folds.
    """
    x, targets, validation_targets = train.x, train.examples.targets, validation.examples.targets
    groups = np.zeros((len(namesakes), len(train.examples.segments), x.shape[1]))
    for group, namesake in enumerate(namesakes):
        for segment, column in enumerate(namesake):
            if column is not None:
                groups[group, segment, column] = 1.0
    fold = fold_of(train.examples.frame["user_key"].to_numpy(), _FOLDS, seed)
    candidates: list[tuple[NDArray[np.float32], NDArray[np.float32], dict[str, Any]]] = []
    losses: list[NDArray[np.float64]] = []
    for ridge in sorted(ridges, reverse=True):
        weights, bias, leans = _fit(x, targets, groups, ridge)
        of_rows = [_losses(validation.x @ weights.T + bias, validation_targets)]
        for left_out in (fold == n for n in range(_FOLDS)):
            if left_out.any() and not left_out.all():
                others, their_bias, _ = _fit(x[~left_out], targets[~left_out], groups, ridge)
                of_rows.append(_losses(x[left_out] @ others.T + their_bias, targets[left_out]))
        losses.append(np.concatenate(of_rows))
        report = {"ridge": ridge, "leans": np.round(leans, 3).tolist(), "held_out_log_loss": float(losses[-1].mean())}
        candidates.append((weights, bias, report))
    best = min(losses, key=np.mean)
    return next(candidate for candidate, each in zip(candidates, losses, strict=True) if _no_worse(each - best))


def _losses(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log-loss of every row."""
    from scipy.special import log_softmax

    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(targets)), targets])


def _no_worse(excess: NDArray[np.float64]) -> bool:
    """Return whether losses are within one standard error of the best ones (Breiman et al. 1984)."""
    return bool(excess.mean() <= excess.std() / np.sqrt(len(excess)))


def _fit(
    x: NDArray[np.float64], targets: NDArray[np.int64], groups: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return weights ``(n_segments, n_columns)`` and bias, and the weight of each group."""
    from scipy.optimize import minimize

    n_segments, n_columns = groups.shape[1:]
    trust = 1 / max(1, len(groups))
    size = n_segments * n_columns
    right = np.eye(n_segments)[targets]

    def parts(flat: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return flat[:size].reshape(n_segments, n_columns), flat[size : size + n_segments], flat[size + n_segments :]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        own, bias, leans = parts(flat)
        logits = x @ (own + np.tensordot(leans, groups, axes=1)).T + bias
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        off = np.exp(logs) - right
        slope = off.T @ x
        value = (
            -(logs * right).sum()
            + (ridge * (own**2).sum() + _RIDGE_OF_BIAS * (bias**2).sum() + _RIDGE * ((leans - trust) ** 2).sum()) / 2
        )
        of_groups = np.tensordot(groups, slope, axes=2) + _RIDGE * (leans - trust)
        of_bias = off.sum(axis=0) + _RIDGE_OF_BIAS * bias
        return float(value), np.concatenate([(slope + ridge * own).ravel(), of_bias, of_groups])

    start = np.concatenate([np.zeros(size + n_segments), np.full(len(groups), trust)])
    bounds = [(None, None)] * (size + n_segments) + [(0.0, None)] * len(groups)
    solved = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    own, bias, leans = parts(solved.x)
    return (own + np.tensordot(leans, groups, axes=1)).astype(np.float32), bias.astype(np.float32), leans
