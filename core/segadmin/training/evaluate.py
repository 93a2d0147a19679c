"""Evaluates a fitted model on rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from segadmin.evaluation.abstention import selective_metrics
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.evaluation.metrics import HEADLINES, expected_calibration_error
from segadmin.evaluation.reports import evaluation, evaluations
from segadmin.inference.predictor import Predictor
from segadmin.training.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]
_TRACKED = {EvaluatedOn.TEST.value: "test", EvaluatedOn.UNSEEN.value: "test_unseen_users"}


def evaluate_model(
    predictor: Predictor, dataset: Dataset, progress: Callable[[float, str], None]
) -> tuple[list[Json], NDArray[np.float64]]:
    """Return the model's rows of ``Evaluation`` and its probabilities on the test rows.

    On test, ``ece_before`` is the calibration error without the temperature.
    """
    name, thresholds = predictor.manifest.name, predictor.manifest.thresholds
    validation = predictor.probabilities(dataset.validation)
    raw = predictor.model_probabilities(dataset.test, progress)
    probabilities = predictor.finish(raw, dataset.test)
    rows = evaluations(name, probabilities, dataset.test)
    if thresholds:
        rows[0]["metrics"] |= selective_metrics(probabilities, dataset.test, thresholds)
    rows[0]["metrics"]["ece_before"] = expected_calibration_error(raw, dataset.test.targets)
    truth = dataset.validation.targets, predictor.segments
    return [*rows, evaluation(name, EvaluatedOn.VALIDATION, validation, *truth)], probabilities


def tracked_metrics(rows: Iterable[Mapping[str, Any]], baselines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the metrics on test under the names for trackers: ``test/auroc``, of a baseline ``test/tabular/auroc``."""
    named = [("", row) for row in rows] + [(f"{row['name']}/", row) for row in baselines]
    return {
        f"{_TRACKED[row['split']]}/{name}{metric}": value
        for name, row in named
        for metric in HEADLINES
        if row["split"] in _TRACKED and (value := row["metrics"].get(metric)) is not None
    }


def headline(row: Mapping[str, Any]) -> Json:
    """Return the most important metrics of a row of ``Evaluation``."""
    metrics = row["metrics"]
    return {"split": row["split"], "rows": row["rows"], "auroc": metrics["auroc"], "macro_f1": metrics["macro_f1"]}
