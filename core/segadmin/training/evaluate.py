"""Evaluates a fitted model on rows that it was not trained on, and how much it reveals about those that it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import no_progress
from segadmin.evaluation.abstention import selective_metrics
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.evaluation.membership import MembershipAttack, attack_auc, matched_rows
from segadmin.evaluation.metrics import HEADLINES, expected_calibration_error, losses
from segadmin.evaluation.reports import evaluation, evaluations
from segadmin.inference.predictor import Predictor
from segadmin.labels.parts import Part, SplitBy
from segadmin.training.context import RunContext
from segadmin.training.dataset import Dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]
#: Fraction of the time until the test rows are read.
_TESTED = 0.7
_TRACKED = {EvaluatedOn.TEST.value: "test", EvaluatedOn.UNSEEN.value: "test_unseen_users"}


@dataclass(frozen=True)
class Evaluated:
    """What was measured of a model."""

    rows: list[Json]  #: of ``Evaluation``; on test, ``ece_before`` is the calibration error without the temperature
    probabilities: NDArray[np.float64]  #: on the test rows
    membership: MembershipAttack | None


def evaluate_model(predictor: Predictor, dataset: Dataset, context: RunContext) -> Evaluated:
    """Measure a model on validation, on test, and by how well training rows can be distinguished from others."""
    name, thresholds = predictor.manifest.name, predictor.manifest.thresholds
    validation = predictor.probabilities(dataset.validation)
    raw = predictor.model_probabilities(dataset.test, context.within(0.0, _TESTED).progress)
    probabilities = predictor.finish(raw, dataset.test)
    rows = evaluations(name, probabilities, dataset.test)
    if thresholds:
        rows[0]["metrics"] |= selective_metrics(probabilities, dataset.test, thresholds)
    rows[0]["metrics"]["ece_before"] = expected_calibration_error(raw, dataset.test.targets)
    truth = dataset.validation.targets, predictor.segments
    rows.append(evaluation(name, EvaluatedOn.VALIDATION, validation, *truth))
    by_user = predictor.manifest.split == SplitBy.USER
    rest = context.within(_TESTED, 1.0).progress
    membership = membership_attack(predictor, dataset, probabilities if by_user else validation, rest)
    return Evaluated(rows, probabilities, membership)


def membership_attack(
    predictor: Predictor,
    dataset: Dataset,
    held_out_probabilities: NDArray[np.float64],
    progress: Callable[[float, str], None] = no_progress,
) -> MembershipAttack | None:
    """Return how well the loss distinguishes training rows from held-out rows; ``None`` without rows of one week.

    Held-out rows are those of users whom the model was not trained on, at the training cut-offs: the test rows if the
    split is by user, otherwise the validation rows.

    Args:
        predictor: the model, calibrated and with its policy, as everybody sees it.
        dataset: its rows.
        held_out_probabilities: of these test or validation rows.
        progress: called with the fraction done and a short note.
    """
    by_user = predictor.manifest.split == SplitBy.USER
    part, held_out = (Part.TEST, dataset.test) if by_user else (Part.VALIDATION, dataset.validation)
    chosen, others = matched_rows(dataset.train.frame, held_out.frame, predictor.manifest.seed)
    if not len(chosen):
        return None
    trained = replace(dataset.train, frame=dataset.train.frame[chosen])
    users = trained.frame["user_key"].to_numpy(), held_out.frame["user_key"].to_numpy()[others]
    auc = attack_auc(
        losses(predictor.probabilities(trained, progress), trained.targets),
        losses(held_out_probabilities[others], held_out.targets[others]),
        *users,
    )
    return MembershipAttack(auc, trained=len(chosen), held_out=len(others), part=part.value)


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
