"""Several fitted models as one: a weighted combination of their probabilities (a logarithmic opinion pool)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, load_fitted, no_progress
from segadmin.settings import Settings
from segadmin_plugins.backbones.combination import part_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Predictions = Mapping[str, "NDArray[np.float32]"]
LEAST = 1e-7  #: smallest probability, so that its logarithm exists
#: Pulls the weights towards equality: strong on a hundred validation users, negligible on thousands.
_RIDGE = 1.0
_MOST = 3.0  #: largest weight of a model
_FILE = "weights.json"


class PooledClassifier(Classifier):
    """The fitted members and their weights."""

    def __init__(self, fitted: Mapping[str, Classifier], weights: Mapping[str, float]) -> None:
        self._fitted, self._weights = dict(fitted), dict(weights)
        reports = {name: member.report for name, member in fitted.items()}
        self.report = {"weights": {name: round(weight, 4) for name, weight in weights.items()}, **reports}

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment; members without weight are not called."""
        used = {name: member for name, member in self._fitted.items() if self._weights[name]}
        return pool({name: member.predict(examples) for name, member in used.items()}, self._weights)

    def save(self, folder: Path) -> None:
        """Write each member to its own folder."""
        for name, member in self._fitted.items():
            member.save(folder / name)
        (folder / _FILE).write_text(json.dumps(self._weights))

    def export(self, folder: Path) -> None:
        """Write each member to its own folder, with everything that it needs."""
        for name, member in self._fitted.items():
            member.export(folder / name)
        (folder / _FILE).write_text(json.dumps(self._weights))


def fit_pool(
    members: Mapping[str, Backbone], train: Examples, validation: Examples, run: FitContext
) -> PooledClassifier:
    """Fit every member on ``train``, and the weights on ``validation``."""
    fitted = {
        name: member.fit(train, validation, part_of(run, name, n / len(members), 1 / len(members)))
        for n, (name, member) in enumerate(members.items())
    }
    return PooledClassifier(
        fitted, weigh({name: model.predict(validation) for name, model in fitted.items()}, validation)
    )


def load_pool(members: Mapping[str, Backbone], folder: Path, settings: Settings) -> PooledClassifier:
    """Return the classifier that :meth:`PooledClassifier.save` wrote into ``folder``."""
    fitted = {name: load_fitted(member, folder / name, settings) for name, member in members.items()}
    return PooledClassifier(fitted, json.loads((folder / _FILE).read_text()))


def pool(predictions: Predictions, weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Return probabilities whose logarithms are the weighted sums of all, ``(n_rows, n_segments)``."""
    import numpy as np

    from segadmin_plugins.backbones.numbers import softmax

    logs = sum(
        weights.get(name, 0.0) * np.log(np.clip(probabilities, LEAST, 1.0))
        for name, probabilities in predictions.items()
    )
    return softmax(np.asarray(logs))


def weigh(predictions: Predictions, validation: Examples) -> dict[str, float]:
    """Return the weights with the lowest log-loss on validation; equal ones if there are no rows."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    equal = np.full(len(predictions), 1 / len(predictions))
    if not len(validation):
        return dict(zip(predictions, equal.tolist(), strict=True))
    # In double precision: finite differences need more than single precision.
    logs = np.stack(
        [np.log(np.clip(probabilities.astype(np.float64), LEAST, 1.0)) for probabilities in predictions.values()]
    )
    rows, targets = np.arange(len(validation)), validation.targets

    def loss(weights: NDArray[np.float64]) -> float:
        pooled = log_softmax(np.tensordot(weights, logs, axes=1), axis=1)
        return float(_RIDGE * ((weights - equal) ** 2).sum() / len(rows) - pooled[rows, targets].mean())

    solution = minimize(loss, x0=equal, bounds=[(0.0, _MOST)] * len(predictions), method="L-BFGS-B")
    return dict(zip(predictions, solution.x.tolist(), strict=True))
