"""The ``evaluate`` stage: the saved model on rows it did not learn from; from here on it is a model version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlmodel import Session, col, delete

from segadmin.contracts.plugins import load_plugins
from segadmin.evaluation.abstention import answered, selective
from segadmin.evaluation.calibration import scaled
from segadmin.evaluation.comparison import predictions_frame
from segadmin.evaluation.metrics import HEADLINES, expected_calibration_error
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.jobs.plugin_guard import calling
from segadmin.models.artifact import LoadedModel, Saved, load_saved
from segadmin.storage.predictions import keep_predictions
from segadmin.storage.records import Evaluation, ModelVersion
from segadmin.training.dataset import Dataset, read_dataset
from segadmin.training.fitting import TEST, UNSEEN, VALIDATION, evaluation, evaluations
from segadmin.training.tracking import add_to_runs
from segadmin.workflows.prepared import Prepared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]
_TRACKED = {TEST: "test", UNSEEN: "test_unseen_users"}


def evaluate(attempt: Attempt) -> Outcome:
    """Load the artifact again, as scoring will, and measure it on validation, test and unseen users."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    tuned = attempt.input("finetune")
    plugins = load_plugins(attempt.settings)
    backbone = plugins.find("backbone", prepared.backbone)
    with calling(attempt, backbone, "load"):
        model = load_saved(attempt.settings, plugins, Saved(tuned["folder"], tuned["sha256"]))
    dataset = read_dataset(attempt, prepared)
    with calling(attempt, backbone, "predict"):
        found, probabilities = evaluate_model(attempt, prepared, model, dataset)
    said = predictions_frame(dataset.test, probabilities)
    predictions = keep_predictions(attempt.settings, attempt.job_id, tuned["sha256"], said)
    beside = attempt.input("baselines")["evaluations"]
    failed = add_to_runs(attempt, prepared, tuned.get("tracker_keys", {}), _tested(found, beside))

    def commit(session: Session) -> Json:
        version = _version(attempt.job_id, prepared, tuned, predictions)
        return {"model_version_id": _record(session, version, found, beside)}

    headlines = [_headline(row) for row in found]
    result = {"evaluations": headlines, **({"trackers": failed} if failed else {})}
    return Outcome(result, commit=commit)


def evaluate_model(
    attempt: Attempt, prepared: Prepared, model: LoadedModel, dataset: Dataset
) -> tuple[list[Json], NDArray[np.float64]]:
    """Return the model's rows of ``Evaluation`` and its probabilities on the test rows.

    On test, ``ece_before`` is the calibration error without the temperature.
    """
    name, segments = model_name(prepared.backbone, prepared.backbone_options), prepared.segments
    validation = model.predict(dataset.validation)
    raw = model.predict(dataset.test, attempt.progress, calibrated=False)
    probabilities = answered(scaled(raw, model.temperature), dataset.test, model.manifest.get("policy") or {})
    rows = evaluations(name, probabilities, dataset.test, segments)
    if model.thresholds:
        rows[0]["metrics"] |= selective(probabilities, dataset.test, model.thresholds)
    rows[0]["metrics"]["ece_before"] = expected_calibration_error(raw, dataset.test.targets)
    return [*rows, evaluation(name, VALIDATION, validation, dataset.validation.targets, segments)], probabilities


def model_name(backbone: str, options: Json) -> str:
    """Return what to call a model in tables: the pretrained model where one was named, else the backbone."""
    return str(options.get("model") or backbone)


def _version(job_id: int, prepared: Prepared, tuned: Json, predictions: Json) -> ModelVersion:
    return ModelVersion(
        label_set=prepared.label_set,
        backbone=prepared.backbone,
        textualizer=prepared.recipe.textualizer,
        segments=list(prepared.segments),
        folder=tuned["folder"],
        sha256=tuned["sha256"],
        manifest={**tuned["manifest"], "predictions": predictions},
        job_id=job_id,
    )


def _record(session: Session, version: ModelVersion, found: Sequence[Json], beside: Sequence[Json]) -> int:
    job_id = version.job_id
    session.add(version)
    session.flush()
    assert version.id is not None
    # A job that was run again from its start has baselines in the table already.
    session.exec(delete(Evaluation).where(col(Evaluation.job_id) == job_id, col(Evaluation.model_version_id).is_(None)))
    session.add_all([Evaluation(model_version_id=version.id, job_id=job_id, **row) for row in found])
    session.add_all([Evaluation(job_id=job_id, **row) for row in beside])
    session.flush()
    return version.id


def _tested(found: Sequence[Json], beside: Sequence[Json]) -> dict[str, float]:
    """Return the figures on test under the names for trackers: ``test/auroc``, of a baseline ``test/tabular/auroc``."""
    named = [("", row) for row in found] + [(f"{row['name']}/", row) for row in beside]
    return {
        f"{_TRACKED[row['split']]}/{name}{metric}": value
        for name, row in named
        for metric in HEADLINES
        if row["split"] in _TRACKED and (value := row["metrics"].get(metric)) is not None
    }


def _headline(row: Json) -> Json:
    metrics = row["metrics"]
    return {"split": row["split"], "rows": row["rows"], "auroc": metrics["auroc"], "macro_f1": metrics["macro_f1"]}
