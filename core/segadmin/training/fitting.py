"""Fitting one backbone: the same for the model and for the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Backbone, Classifier, Examples, Fit
from segadmin.contracts.plugins import load_plugins
from segadmin.evaluation.calibration import fit_temperature, predict, scaled
from segadmin.evaluation.metrics import confusion, expected_calibration_error, measure
from segadmin.jobs.attempt import Attempt
from segadmin.jobs.plugin_guard import calling
from segadmin.training.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]
#: The splits that are reported; the last is the part of the test rows whose users training never saw.
VALIDATION, TEST, UNSEEN = "validation", "test", "test, unseen users"


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier and what its probabilities are divided by."""

    classifier: Classifier
    calibration: Json  #: ``temperature``, and the calibration error on validation before and after it
    validation: NDArray[np.float64]  #: calibrated probabilities of the validation rows
    figures: Mapping[str, float]  #: on validation, calibrated: ``validation_log_loss``, ``validation_auroc``, …


def fit(
    attempt: Attempt,
    name: str,
    options: Json,
    dataset: Dataset,
    *,
    seed: int,
    share: tuple[float, float],
    also: Mapping[str, Examples] | None = None,
    start: Path | None = None,
    log: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Fitted:
    """Fit the backbone ``name`` and calibrate it on validation.

    Args:
        attempt: whose progress is reported and whose checkpoints are used.
        name: of the backbone.
        options: of the backbone.
        dataset: learnt from ``train``, chosen and calibrated on ``validation``; ``test`` is not looked at.
        seed: of everything random.
        share: from where to where the attempt's progress goes, such as ``(0.0, 0.9)``.
        also: rows of other label sets to learn at the same time.
        start: the folder of an earlier version to go on from.
        log: gets the figures of each evaluation; by default the attempt's curve alone.
    """
    plugins = load_plugins(attempt.settings)
    backbone: Backbone = plugins.make("backbone", name, options)
    low, high = share

    def progress(fraction: float, note: str = "") -> None:
        attempt.progress(low + fraction * (high - low), f"{name}: {note}" if note else name)

    checkpoints = _checkpoints(attempt, name)
    run = Fit(attempt.settings, checkpoints, seed, progress, log or attempt.log, start=start, also=also or {})
    with calling(attempt, plugins.find("backbone", name), "fit"):
        classifier = backbone.fit(dataset.train, dataset.validation, run)
        raw = predict(classifier, dataset.validation)
    calibration = _calibrate(raw, dataset.validation)
    said = scaled(raw, calibration["temperature"])
    return Fitted(classifier, calibration, said, _figures(said, dataset.validation))


def evaluations(name: str, probabilities: NDArray[np.float64], test: Examples, segments: tuple[str, ...]) -> list[Json]:
    """Return the figures on the test rows, and on those of unseen users, as rows of ``Evaluation``."""
    rows = [evaluation(name, TEST, probabilities, test.targets, segments)]
    unseen = test.frame["unseen"].to_numpy()
    if unseen.any() and not unseen.all():
        rows.append(evaluation(name, UNSEEN, probabilities[unseen], test.targets[unseen], segments))
    return rows


def evaluation(
    name: str, split: str, probabilities: NDArray[np.float64], targets: NDArray[np.int64], segments: tuple[str, ...]
) -> Json:
    """Return the figures on one split as a row of ``Evaluation``."""
    return {
        "name": name,
        "split": split,
        "rows": len(targets),
        "metrics": measure(probabilities, targets, segments),
        "confusion": confusion(probabilities, targets),
    }


def _calibrate(raw: NDArray[np.float64], validation: Examples) -> Json:
    temperature = fit_temperature(raw, validation.targets)
    errors = [
        expected_calibration_error(probabilities, validation.targets) if len(validation) else None
        for probabilities in (raw, scaled(raw, temperature))
    ]
    return {"temperature": temperature, "ece_before": errors[0], "ece_after": errors[1], "rows": len(validation)}


def _figures(probabilities: NDArray[np.float64], validation: Examples) -> dict[str, float]:
    found = measure(probabilities, validation.targets, validation.segments)
    return {f"{VALIDATION}_{name}": value for name, value in found.items() if isinstance(value, float)}


def _checkpoints(attempt: Attempt, name: str) -> Path:
    folder = attempt.checkpoints / name
    folder.mkdir(exist_ok=True)
    return folder
