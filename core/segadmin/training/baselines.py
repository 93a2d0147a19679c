"""Baselines: simple models that are trained and tested on the same rows as the backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from segadmin.evaluation.calibration import predict
from segadmin.evaluation.reports import evaluations
from segadmin.inference.clipping import Limits
from segadmin.training.context import RunContext
from segadmin.training.dataset import Dataset
from segadmin.training.fitting import fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]
#: The baseline that is always included: it predicts the class distribution of training.
MAJORITY = "majority"


@dataclass
class Baselines:
    """The results of the baselines on the test rows."""

    evaluations: list[Json]  #: rows of ``Evaluation``
    reports: dict[str, Json] = field(default_factory=dict)  #: by baseline
    probabilities: dict[str, NDArray[np.float64]] = field(default_factory=dict)  #: of the test rows, by baseline


def fit_baselines(context: RunContext, names: Sequence[str], dataset: Dataset, seed: int) -> Baselines:
    """Fit every baseline, with its default options, and test it."""
    dataset = dataset.within(Limits.fit(dataset.train))
    fitted = Baselines(evaluations(MAJORITY, majority(dataset), dataset.test))
    for n, name in enumerate(names):
        part = context.within(n / len(names), (n + 1) / len(names), name)
        model = fit(replace(part, log=partial(_log, context, name)), name, {}, dataset, seed=seed)
        probabilities = predict(model.classifier, dataset.test, model.calibration.temperature)
        fitted.evaluations += evaluations(name, probabilities, dataset.test)
        fitted.probabilities[name] = probabilities
        fitted.reports[name] = {**model.classifier.report, "calibration": model.calibration.model_dump()}
    return fitted


def _log(context: RunContext, name: str, step: int, metrics: Mapping[str, float]) -> None:
    context.log(step, {f"{name}/{metric}": value for metric, value in metrics.items()})


def majority(dataset: Dataset) -> NDArray[np.float64]:
    """Return the class distribution of training for every test row."""
    import numpy as np

    segments = len(dataset.train.segments)
    distribution = np.bincount(dataset.train.targets, minlength=segments) / len(dataset.train)
    return np.tile(distribution, (len(dataset.test), 1))
