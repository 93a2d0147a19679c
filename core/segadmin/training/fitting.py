"""Fits and calibrates one backbone; used for the model and for its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, UnlabelledUsers
from segadmin.contracts.plugins import load_plugins
from segadmin.evaluation.calibration import fit_temperature, predict, scaled
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.evaluation.metrics import expected_calibration_error, measure
from segadmin.inference.predictor import forget_models
from segadmin.models.manifest import Calibration
from segadmin.training.context import RunContext
from segadmin.training.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier and its calibration."""

    classifier: Classifier
    calibration: Calibration
    validation: NDArray[np.float64]  #: calibrated probabilities of the validation rows
    metrics: Mapping[str, float]  #: on validation, calibrated: ``validation_log_loss``, ``validation_auroc``, …


def fit(
    context: RunContext,
    name: str,
    options: Json,
    dataset: Dataset,
    *,
    seed: int,
    also: Mapping[str, Examples] | None = None,
    unlabelled: UnlabelledUsers | None = None,
    start: Path | None = None,
    update: bool = False,
) -> Fitted:
    """Fit the backbone ``name`` and calibrate it on validation.

    Args:
        context: receives progress and metrics, and has the checkpoints.
        name: name of the backbone.
        options: options of the backbone.
        dataset: trains on ``train``, selects and calibrates on ``validation``; ``test`` is not used.
        seed: random seed.
        also: rows of auxiliary label sets, by name, for multi-task training.
        unlabelled: users without labels, for backbones that use them.
        start: the folder of an earlier version, for a warm start.
        update: whether that version was trained on the same labels; see :attr:`FitContext.update`.
    """
    forget_models()
    plugins = load_plugins(context.settings)
    backbone: Backbone = plugins.make("backbone", name, options)
    checkpoints = context.checkpoints / name
    checkpoints.mkdir(exist_ok=True)
    run = FitContext(
        context.settings,
        checkpoints,
        seed,
        context.progress,
        context.log,
        start,
        update=update,
        also=also or {},
        unlabelled=unlabelled,
    )
    with context.calling(plugins.find("backbone", name), "fit"):
        classifier = backbone.fit(dataset.train, dataset.validation, run)
        raw = predict(classifier, dataset.validation)
    calibration = _calibrate(raw, dataset.validation)
    probabilities = scaled(raw, calibration.temperature)
    return Fitted(classifier, calibration, probabilities, _metrics(probabilities, dataset.validation))


def _calibrate(raw: NDArray[np.float64], validation: Examples) -> Calibration:
    temperature = fit_temperature(raw, validation.targets)
    errors = [
        expected_calibration_error(probabilities, validation.targets) if len(validation) else None
        for probabilities in (raw, scaled(raw, temperature))
    ]
    return Calibration(temperature=temperature, ece_before=errors[0], ece_after=errors[1], rows=len(validation))


def _metrics(probabilities: NDArray[np.float64], validation: Examples) -> dict[str, float]:
    measured = measure(probabilities, validation.targets, validation.segments)
    return {f"{EvaluatedOn.VALIDATION}_{name}": value for name, value in measured.items() if isinstance(value, float)}
