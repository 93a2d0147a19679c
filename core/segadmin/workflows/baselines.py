"""The ``baselines`` stage: simple models on the very rows that the backbone learns from and is tested on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from segadmin.evaluation.calibration import predict
from segadmin.evaluation.comparison import write_predictions
from segadmin.inference.clipping import Limits
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.training.dataset import Dataset, read_dataset
from segadmin.training.fitting import evaluations, fit
from segadmin.workflows.prepared import Prepared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Always there: whoever is not better than it has learnt nothing.
MAJORITY = "majority"


def baselines(attempt: Attempt) -> Outcome:
    """Fit every baseline and report how it does on the test rows."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    dataset = read_dataset(attempt, prepared)
    dataset = dataset.within(Limits.fit(dataset.train))
    found = evaluations(MAJORITY, majority(dataset), dataset.test, prepared.segments)
    reports: dict[str, Any] = {}
    predictions: dict[str, Any] = {}
    for n, name in enumerate(prepared.baselines):
        share = (n / len(prepared.baselines), (n + 1) / len(prepared.baselines))
        fitted = fit(attempt, name, {}, dataset, seed=prepared.seed, share=share, log=partial(_log, attempt, name))
        probabilities = predict(fitted.classifier, dataset.test, fitted.calibration["temperature"])
        found += evaluations(name, probabilities, dataset.test, prepared.segments)
        predictions[name] = write_predictions(attempt, name, dataset.test, probabilities)
        reports[name] = {**fitted.classifier.report, "calibration": fitted.calibration}
    return Outcome({"evaluations": found, "reports": reports, "predictions": predictions})


def _log(attempt: Attempt, name: str, step: int, figures: Mapping[str, float]) -> None:
    attempt.log(step, {f"{name}/{figure}": value for figure, value in figures.items()})


def majority(dataset: Dataset) -> NDArray[np.float64]:
    """Return, for every test row, how common each segment is in training: no user is told from another."""
    import numpy as np

    segments = len(dataset.train.segments)
    common = np.bincount(dataset.train.targets, minlength=segments) / len(dataset.train)
    return np.tile(common, (len(dataset.test), 1))
