"""A regression that leans on what is called the same, for when there are few labels to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from segadmin.contracts.backbone import Examples
from segadmin.labels.split import fold_of
from segadmin_plugins.backbones.linear import LinearClassifier, matrix
from segadmin_plugins.backbones.numbers import features_of
from segadmin_plugins.backbones.transformer.scaling import Scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Ridge on how far the weight of each group of namesakes is from what it is taken to be, and on the bias.
_RIDGE, _RIDGE_OF_BIAS = 2.0, 0.1
_STEPS = 500
_FOLDS = 5


def lean(
    train: Examples, validation: Examples, namesakes: Sequence[Sequence[str | None]], ridges: Sequence[float], seed: int
) -> LinearClassifier:
    """Fit a multinomial regression whose weights are drawn to those of the namesakes, not to zero.

    A feature that says how likely a segment of the same name is, elsewhere or sooner, should raise this one and no
    other: that is one weight for all segments, never below zero, which a dozen labels are enough for; before any, all
    groups are trusted alike. What else the features tell is kept small by one of ``ridges``: by what it says of
    validation and, by folds of the users, of the rows it learns from, for the validation of few labels is very few.
    The largest that is no worse than the best by more than one standard error is taken.

    Args:
        train: rows to learn from; their features are standardised here.
        validation: rows that help to choose the ridge; may be none.
        namesakes: groups, each with the feature of every segment's namesake; ``None`` where there is none.
        ridges: strengths to try.
        seed: of the folds.
    """
    names = train.feature_names
    scaling = Scaling.fit(names, features_of(train, names))
    x = matrix(train, scaling).astype(np.float64)
    groups = np.zeros((len(namesakes), len(train.segments), x.shape[1]))
    for group, namesake in enumerate(namesakes):
        for segment, feature in enumerate(namesake):
            if feature is not None:
                groups[group, segment, names.index(feature)] = 1.0
    fold = fold_of(train.frame["user_key"].to_numpy(), _FOLDS, seed)
    aside = matrix(validation, scaling).astype(np.float64)
    found: list[LinearClassifier] = []
    losses: list[NDArray[np.float64]] = []
    for ridge in sorted(ridges, reverse=True):
        weights, bias, leans = _fit(x, train.targets, groups, ridge)
        of_rows = [_losses(aside @ weights.T + bias, validation.targets)]
        for out in (fold == one for one in range(_FOLDS)):
            if out.any() and not out.all():
                others, their_bias, _ = _fit(x[~out], train.targets[~out], groups, ridge)
                of_rows.append(_losses(x[out] @ others.T + their_bias, train.targets[out]))
        losses.append(np.concatenate(of_rows))
        report = {"ridge": ridge, "leans": np.round(leans, 3).tolist(), "held_out_log_loss": float(losses[-1].mean())}
        found.append(LinearClassifier(scaling, weights, bias, report))
    best = min(losses, key=np.mean)
    return next(one for one, each in zip(found, losses, strict=True) if _no_worse(each - best))


def _losses(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log-loss of every row."""
    from scipy.special import log_softmax

    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(targets)), targets])


def _no_worse(excess: NDArray[np.float64]) -> bool:
    """Return whether losses are within one standard error of the best ones (Breiman et al. 1984): the plainest wins."""
    return bool(excess.mean() <= excess.std() / np.sqrt(len(excess)))


def _fit(
    x: NDArray[np.float64], targets: NDArray[np.int64], groups: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return weights ``(n_segments, n_columns)`` and bias, and how much each group weighs in them."""
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
