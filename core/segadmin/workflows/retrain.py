"""The ``retrain`` job: fine-tune a backbone on labelled users, test it, and score everybody if it is good."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult, StepFile
from segadmin.jobs.plugin_guard import calling
from segadmin.jobs.registry import Stage, Workflow, register
from segadmin.models.evaluations import record_evaluations
from segadmin.models.manifest import ModelManifest, TrainingData
from segadmin.storage.records import ModelState, ModelVersion
from segadmin.workflows.artifacts import model_facts, save_model
from segadmin.workflows.canary import CANARY
from segadmin.workflows.canary_start import CanaryPlan, canary_plan
from segadmin.workflows.monitoring import MONITOR
from segadmin.workflows.prepare_training import prepared_training
from segadmin.workflows.publishing import publish
from segadmin.workflows.retrain_request import Retrain
from segadmin.workflows.score_users import SCORE, SCORE_CHALLENGER
from segadmin.workflows.scored import GateOutput
from segadmin.workflows.segment_profiles import SEGMENT_PROFILES
from segadmin.workflows.textualize import TEXTUALIZE, TextOutput, training_texts
from segadmin.workflows.training_data import (
    PreparedTraining,
    augmented_texts,
    read_auxiliary,
    read_dataset,
    read_split,
    read_unlabelled,
    training_context,
)

if TYPE_CHECKING:
    from sqlmodel import Session

    from segadmin.contracts.tracker import TrackedRun
    from segadmin.training.finetune import Finetuned
    from segadmin.training.gate import Verdict

log = logging.getLogger(__name__)
#: Stages that are skipped where the new model scores nobody.
AFTER_GATE = ("score_challenger", "score", "publish", "canary", "monitor", "segment_profiles")


class BaselinesOutput(StageOutput):
    """How the baselines did."""

    stage: ClassVar[str] = "baselines"

    evaluations: tuple[dict[str, Any], ...]  #: rows of ``Evaluation``
    reports: dict[str, dict[str, Any]] = {}  #: by baseline
    predictions: dict[str, StepFile] = {}  #: of the test rows, by baseline


class FinetuneOutput(StageOutput):
    """The artifact, and what its fit reported."""

    stage: ClassVar[str] = "finetune"

    folder: str  #: relative to the store
    sha256: str
    manifest: ModelManifest
    report: dict[str, Any] = {}
    trackers: dict[str, str] = {}  #: for each tracker where to look, or that it failed
    tracker_keys: dict[str, str] = {}  #: by which its run is found again


class EvaluateOutput(StageOutput):
    """The model version, and its headline metrics."""

    stage: ClassVar[str] = "evaluate"

    evaluations: tuple[dict[str, Any], ...] = ()
    trackers: dict[str, str] = {}  #: those that failed, and why
    model_version_id: int = 0  #: set by the transaction that finishes the step


def prepare(attempt: Attempt) -> StageResult:
    """Check the options, the weights and the data; decide the windows, the split and the features."""
    from segadmin.monitoring.volume import check_recent_days

    request = Retrain.model_validate(attempt.options)
    prepared = prepared_training(attempt, request, PreparedTraining)
    if not request.force:
        check_recent_days(attempt.settings, prepared.text.lake or {}, prepared.label_set)
    return StageResult(prepared)


def baselines(attempt: Attempt) -> StageResult:
    """Fit every baseline and report how it does on the test rows."""
    from segadmin.evaluation.comparison import predictions_frame
    from segadmin.training.baselines import fit_baselines

    prepared = attempt.output(PreparedTraining)
    texts = training_texts(attempt)
    split, _ = read_split(attempt, prepared, texts)
    dataset = read_dataset(prepared, texts, split)
    fitted = fit_baselines(training_context(attempt), prepared.request.baselines, dataset, prepared.request.seed)
    files = {
        name: attempt.write(predictions_frame(dataset.test, rows), f"predictions-{name.replace('/', '-')}")
        for name, rows in fitted.probabilities.items()
    }
    return StageResult(
        BaselinesOutput(evaluations=tuple(fitted.evaluations), reports=fitted.reports, predictions=files)
    )


def finetune(attempt: Attempt) -> StageResult:
    """Fit the backbone on the training rows and keep it as an artifact, named by its content."""
    from segadmin.training.finetune import finetune as fit
    from segadmin.training.records import record_training_users
    from segadmin.training.tracking import tracked

    prepared = attempt.output(PreparedTraining)
    request, texts = prepared.request, training_texts(attempt)
    split, data = read_split(attempt, prepared, texts)
    auxiliary = read_auxiliary(attempt, prepared, texts, split)
    unlabelled = read_unlabelled(attempt, prepared, texts, split)
    context = training_context(attempt)
    with tracked(context, request.tracker_settings(), partial(_tracked_run, attempt, prepared, data)) as trackings:

        def log(step: int, metrics: Mapping[str, float]) -> None:
            attempt.log(step, metrics)
            trackings.log(step, metrics)

        model = fit(
            replace(context, log=log),
            prepared.backbone,
            request.backbone_options,
            read_dataset(prepared, texts, split),
            seed=request.seed,
            copies=augmented_texts(attempt),
            auxiliary=auxiliary,
            unlabelled=unlabelled,
            parent=_parent_folder(attempt, prepared),
            update=prepared.update,
            precision=request.min_precision,
        )
        trackings.finish(model.fitted.metrics)
    learnt_from = (model.train, *auxiliary.values(), *((unlabelled.users,) if unlabelled else ()))
    parent = prepared.parent.version if prepared.parent else None
    record_training_users(attempt.settings, attempt.job_id, attempt.step_id, learnt_from, parent=parent)
    manifest = _manifest(attempt, prepared, model, data)
    saved = save_model(attempt, model.fitted.classifier, manifest)
    return StageResult(
        FinetuneOutput(
            folder=saved.folder,
            sha256=saved.sha256,
            manifest=manifest,
            report={**model.fitted.classifier.report, "calibration": model.fitted.calibration.model_dump()},
            trackers=trackings.status,
            tracker_keys=trackings.keys,
        )
    )


def _manifest(attempt: Attempt, prepared: PreparedTraining, model: Finetuned, data: TrainingData) -> ModelManifest:
    request = prepared.request
    return ModelManifest(
        **model_facts(attempt, prepared, prepared.backbone, request.backbone_options, request.seed),
        report=model.fitted.classifier.report,
        label_set=prepared.label_set,
        segments=prepared.segments,
        features=model.train.feature_names,
        feature_limits=model.limits.each,
        features_clipped=model.clipped,
        rows_learnt=len(model.train),
        calibration=model.fitted.calibration,
        policy=model.policy,
        precision=request.min_precision,
        thresholds=model.thresholds,
        hysteresis=model.hysteresis,
        learnt_beside={name: task.segments for name, task in prepared.auxiliary.items()},
        started_from=prepared.parent.version if prepared.parent else None,
        split=request.split,
        held_out=request.held_out,
        data=data,
        text=tuple(texts.report for texts in attempt.outputs(TextOutput)),
    )


def _parent_folder(attempt: Attempt, prepared: PreparedTraining) -> Path | None:
    """Return the folder of the version to begin as, after checking that it is what was saved."""
    from segadmin.files import inside
    from segadmin.models.artifact import Saved, read_manifest

    if prepared.parent is None:
        return None
    read_manifest(attempt.settings, Saved(prepared.parent.folder, prepared.parent.sha256))
    return inside(attempt.settings.store_path, prepared.parent.folder)


def _tracked_run(attempt: Attempt, prepared: PreparedTraining, data: TrainingData, tracker: str) -> TrackedRun:
    """Return what a tracker gets to know of the fit: nothing about single users."""
    from segadmin.contracts.tracker import TrackedRun

    request, recipe = prepared.request, prepared.recipe
    name = f"job-{attempt.job_id}" + (f"-attempt-{attempt.number}" if attempt.number > 1 else "")
    config = {
        "backbone": request.backbone,
        "backbone_options": request.backbone_options,
        "textualizer": recipe.textualizer,
        "textualizer_options": recipe.textualizer_options,
        "modality": recipe.modality.name if recipe.modality else "",
        "language": recipe.language,
        "window_days": recipe.window_days,
        "labels": prepared.label_set,
        "segments": list(prepared.segments),
        "split": request.split.value,
        "held_out": request.held_out,
        "augment": request.augment,
        "seed": request.seed,
        "rows": data.parts,
    }
    folder = attempt.settings.root / "trackers" / tracker
    return TrackedRun(attempt.job_id, attempt.number, name, config, folder)


def evaluate(attempt: Attempt) -> StageResult:
    """Load the artifact again, as scoring will, and measure it; from here on it is a model version."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.comparison import predictions_frame
    from segadmin.inference.predictor import load_predictor
    from segadmin.models.artifact import Saved
    from segadmin.storage.predictions import keep_predictions
    from segadmin.training.evaluate import evaluate_model, headline, tracked_metrics
    from segadmin.training.tracking import add_to_runs

    prepared, tuned = attempt.output(PreparedTraining), attempt.output(FinetuneOutput)
    request, plugins = prepared.request, load_plugins(attempt.settings)
    backbone = plugins.find("backbone", prepared.backbone)
    with calling(attempt, backbone, "load"):
        predictor = load_predictor(attempt.settings, plugins, Saved(tuned.folder, tuned.sha256))
    texts = training_texts(attempt)
    split, data = read_split(attempt, prepared, texts)
    dataset = read_dataset(prepared, texts, split)
    with calling(attempt, backbone, "predict"):
        evaluated = evaluate_model(predictor, dataset, training_context(attempt))
    rows, tested = evaluated.rows, predictions_frame(dataset.test, evaluated.probabilities)
    membership = asdict(evaluated.membership) if evaluated.membership else None
    predictions = keep_predictions(attempt.settings, attempt.job_id, tuned.sha256, tested)
    beside = attempt.output(BaselinesOutput).evaluations
    run_of = partial(_tracked_run, attempt, prepared, data)
    metrics = tracked_metrics(rows, beside)
    failed = add_to_runs(training_context(attempt), request.tracker_settings(), run_of, tuned.tracker_keys, metrics)

    def commit(session: Session) -> Json:
        version = ModelVersion(
            label_set=prepared.label_set,
            backbone=prepared.backbone,
            textualizer=prepared.recipe.textualizer,
            segments=list(prepared.segments),
            folder=tuned.folder,
            sha256=tuned.sha256,
            manifest={**tuned.manifest.as_json(), "predictions": predictions, "membership": membership},
            job_id=attempt.job_id,
        )
        return {"model_version_id": record_evaluations(session, version, rows, beside)}

    output = EvaluateOutput(evaluations=tuple(map(headline, rows)), trackers=failed)
    return StageResult(output, commit=commit)


def _verdict(
    attempt: Attempt, prepared: PreparedTraining, version: ModelVersion, rival: ModelVersion | None
) -> Verdict:
    """Return whether the new version is good enough: it places users, and beats the baselines and the champion."""
    from segadmin.storage.predictions import predictions_of
    from segadmin.training.gate import against_baselines, against_champion, nobody_is_placed

    own = predictions_of(attempt.settings, version).rows
    tested = attempt.output(BaselinesOutput).predictions
    verdict = nobody_is_placed(attempt.output(FinetuneOutput).manifest) or against_baselines(
        own, {name: attempt.read(file) for name, file in tested.items()}, prepared.request.margin
    )
    if not verdict.promoted:
        return verdict
    texts = cache(partial(training_texts, attempt))
    return against_champion(
        training_context(attempt),
        rival,
        own,
        segments=prepared.segments,
        plan=prepared.text,
        by=prepared.request.split,
        split=lambda: read_split(attempt, prepared, texts())[0],
        texts=texts,
    )


def gate(attempt: Attempt) -> StageResult:
    """Promote the new model version, make it a canary, or keep it as a challenger and score nobody."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.models.aliases import champion, pointed
    from segadmin.models.registry import make_champion
    from segadmin.storage.database import transaction

    prepared = attempt.output(PreparedTraining)
    version_id = attempt.output(EvaluateOutput).model_version_id
    with transaction(attempt.settings) as session:
        version = session.get_one(ModelVersion, version_id)
        before = pointed(session, champion(prepared.label_set))
        rival = None if before in {None, version_id} else session.get_one(ModelVersion, before)
    verdict = _verdict(attempt, prepared, version, rival)
    plan = canary_plan(attempt, prepared, rival) if verdict.promoted and rival is not None else CanaryPlan()
    promotes = verdict.promoted and plan.share is None and not plan.refused
    promoted: list[ModelVersion] = []

    def commit(session: Session) -> Json:
        version = session.get_one(ModelVersion, version_id)
        if promotes:
            make_champion(session, version, expected=before)
            promoted.append(version)
            return {}
        version.state = ModelState.CHALLENGER
        session.add(version)
        return {"canary": plan.start(session, version).model_dump(mode="json")} if plan.share is not None else {}

    def after() -> None:
        for version in promoted:
            facts = {"action": "promote", "version": version.id, "label_set": version.label_set, "before": before}
            log.info("model promoted", extra=facts)
            load_plugins(attempt.settings).announce("model_promoted", version=version)

    output = GateOutput(
        promoted=promotes,
        reason="; ".join(filter(None, (verdict.reason, plan.remark))),
        model_version_id=version_id,
        refresh=plan.refresh,
    )
    skip = () if plan.share is not None else ("score_challenger", "canary") if promotes else AFTER_GATE
    return StageResult(output, commit=commit, after=after, skip=skip)


register(
    Workflow(
        "retrain",
        Retrain,
        (
            # Where the weights are looked for must be where they will be used: the gpu queue.
            Stage("prepare", prepare, "gpu", holds="model"),
            TEXTUALIZE,
            Stage("baselines", baselines, after=("textualize",), cost=10),
            Stage("finetune", finetune, "gpu", after=("textualize",), cost=100),
            Stage("evaluate", evaluate, "gpu", after=("finetune", "baselines"), cost=15),
            # Only now: while a model is trained, the nightly refresh goes on with the one before.
            Stage("gate", gate, "gpu", after=("evaluate",), holds="snapshot"),
            replace(SCORE_CHALLENGER, after=("gate",)),
            replace(SCORE, after=("gate", "score_challenger")),
            Stage("publish", publish, after=("score",)),
            CANARY,
            MONITOR,
            SEGMENT_PROFILES,
        ),
        "Fine-tune a backbone on labelled users, evaluate it, and, if it is good, put every user in a segment.",
    )
)
