"""The ``finetune`` stage: the backbone learns, and becomes an artifact."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.contracts.plugins import load_plugins
from segadmin.evaluation.abstention import answered, learn_policy, learn_thresholds
from segadmin.files import inside
from segadmin.inference.clipping import Limits
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.models.artifact import Saved, read_manifest, save_artifact
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import utcnow
from segadmin.training.dataset import Dataset, augmented, read_also, read_dataset
from segadmin.training.fitting import Fitted, fit
from segadmin.training.tracking import tracked
from segadmin.workflows.prepared import Prepared

Json = dict[str, Any]
#: Libraries whose versions can change what a model does.
_LIBRARIES = ("segadmin", "lightgbm", "numpy", "polars", "scikit-learn", "tokenizers", "torch", "transformers")


def finetune(attempt: Attempt) -> Outcome:
    """Fit the backbone on the training rows and keep it as an artifact, named by its content."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    dataset = read_dataset(attempt, prepared)
    limits = Limits.fit(dataset.train)
    dataset = replace(dataset, train=augmented(attempt, prepared, dataset.train))
    beyond = limits.outside(dataset.train)
    dataset = dataset.within(limits)
    options = prepared.backbone_options
    also = {name: limits.clip(rows) for name, rows in read_also(attempt, prepared).items()}
    with tracked(attempt, prepared) as trackings:

        def log(step: int, figures: Mapping[str, float]) -> None:
            attempt.log(step, figures)
            trackings.log(step, figures)

        fitted = fit(
            attempt,
            prepared.backbone,
            options,
            dataset,
            seed=prepared.seed,
            share=(0.0, 0.95),
            log=log,
            also=also,
            start=_started_from(attempt, prepared),
        )
        trackings.finish(fitted.figures)
    tell_who_was_learnt_from(attempt, (dataset.train, *also.values()))
    manifest = describe(attempt, prepared, dataset, fitted) | {
        **_abstention(prepared, dataset, fitted),
        "feature_limits": limits.each,
        "features_clipped": beyond,  # values, in training
    }
    draft = attempt.folder / "artifact"
    shutil.rmtree(draft, ignore_errors=True)
    saved = save_artifact(attempt.settings, draft, fitted.classifier, manifest)
    report = {**fitted.classifier.report, "calibration": fitted.calibration}
    result = {"folder": saved.folder, "sha256": saved.sha256, "manifest": manifest, "report": report}
    tracked_by = {"trackers": trackings.told, "tracker_keys": trackings.keys} if trackings.told else {}
    return Outcome(result | tracked_by)


def _abstention(prepared: Prepared, dataset: Dataset, fitted: Fitted) -> Json:
    """Return when the model is asked and when what is common is said, and how sure it must be; from validation."""
    own = dataset.train.targets
    policy = learn_policy(fitted.validation, dataset.validation, own)
    if prepared.precision is None:
        return {"policy": policy, "precision": None, "thresholds": []}
    said = answered(fitted.validation, dataset.validation, policy)
    thresholds = learn_thresholds(said, dataset.validation.targets, prepared.precision)
    return {"policy": policy, "precision": prepared.precision, "thresholds": thresholds}


def _started_from(attempt: Attempt, prepared: Prepared) -> Path | None:
    """Return the folder of the version to go on from, after checking that it is what was saved."""
    if prepared.start is None:
        return None
    read_manifest(attempt.settings, Saved(prepared.start.folder, prepared.start.sha256))
    return inside(attempt.settings.store_path, prepared.start.folder)


def tell_who_was_learnt_from(attempt: Attempt, learnt: Iterable[Examples]) -> None:
    """Write down whose events the model sees, before it does: an erasure must be able to name the model."""
    rows = (
        pl.concat(one.frame.select("user_key") for one in learnt).unique().with_columns(job_id=pl.lit(attempt.job_id))
    )
    commit = Commit(f"training-{attempt.job_id}-{attempt.step_id}", 1)
    Lake.of(attempt.settings).append("trainings", rows, commit)


def describe(attempt: Attempt, prepared: Prepared, dataset: Dataset, fitted: Fitted) -> Json:
    """Return the manifest: all that one must know to use the model, or to make it again."""
    plugins = load_plugins(attempt.settings)
    return {
        "label_set": prepared.label_set,
        "segments": list(prepared.segments),
        "backbone": prepared.backbone,
        "backbone_options": prepared.backbone_options,
        "backbone_distribution": plugins.find("backbone", prepared.backbone).distribution,
        "recipe": prepared.recipe.model_dump(mode="json"),
        "features": list(dataset.train.feature_names),
        "rows_learnt": len(dataset.train),  # copies included
        "calibration": fitted.calibration,
        "learnt_beside": {name: list(beside.segments) for name, beside in prepared.also.items()},
        "started_from": prepared.start.version if prepared.start else None,
        "split": prepared.split,
        "seed": prepared.seed,
        "held_out": prepared.held_out,
        "data": prepared.data,
        "text": [one["report"] for one in attempt.inputs["textualize"]],
        "report": fitted.classifier.report,
        "versions": versions(),
        "job": attempt.job_id,
        "created": utcnow().isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change what a model does."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
