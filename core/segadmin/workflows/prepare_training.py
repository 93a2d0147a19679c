"""What ``retrain`` and ``tune`` begin with: options, weights and data are checked; rows and features are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segadmin.jobs.attempt import Attempt
from segadmin.labels.parts import SplitOptions
from segadmin.models.manifest import ModelManifest
from segadmin.workflows.retrain_request import Retrain
from segadmin.workflows.textualize import lake_now
from segadmin.workflows.training_data import AuxiliaryTask, ParentVersion, PreparedTraining

if TYPE_CHECKING:
    from segadmin.training.preparation import LabelledRows


def prepared_training(attempt: Attempt, request: Retrain, kind: type[PreparedTraining]) -> PreparedTraining:
    """Return what ``retrain`` and ``tune`` begin with, as a ``kind`` of prepared job.

    Raises:
        DataError: the labels cannot be learnt from, or split so.
        BackboneUnavailable: weights or libraries are missing here.
    """
    from segadmin.labels.later import label_later_weeks
    from segadmin.text.plan import TextPlan

    if request.extend_labels:
        label_later_weeks(attempt.settings, request.labels)
    versions, end = lake_now(attempt.settings)
    request = _checked(attempt, request)
    parent, manifest = _parent(attempt, request)
    if manifest is not None and manifest.pretrained is None and not manifest.is_from_elsewhere:
        # The same users are held out.
        request = request.model_copy(update={"seed": manifest.seed, "held_out": manifest.held_out})
    rows = _labelled_rows(attempt, request, manifest)
    split = attempt.write(rows.split, "split")
    tasks = {
        name: AuxiliaryTask(segments=task.segments, rows=attempt.write(task.rows, f"also-{name}"))
        for name, task in rows.auxiliary.items()
    }
    unlabelled = attempt.write(rows.unlabelled.rows, "unlabelled") if rows.unlabelled else None
    return kind(
        text=TextPlan(
            recipe=rows.recipe,
            training=rows.windows,
            scoring=rows.recipe.window(end),
            outcomes=rows.unlabelled.outcomes if rows.unlabelled else None,
            copies=request.augment,
            drop_events=request.drop_events,
            lake=versions,
        ),
        wanted=(split, *(task.rows for task in tasks.values()), *((unlabelled,) if unlabelled else ())),
        unlabelled=unlabelled,
        copied=split if request.augment else None,
        request=request.model_copy(update={"labels": rows.label_set}),
        label_set=rows.label_set,
        segments=rows.segments,
        split=split,
        auxiliary=tasks,
        parent=parent,
        update=manifest is not None and _is_update(manifest, rows.label_set, rows.segments, request),
        data=rows.data,
    )


def _checked(attempt: Attempt, request: Retrain) -> Retrain:
    """Return the request with the backbones that are fitted, after checking all that the fit will need here."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.training.preparation import check_backbones
    from segadmin.training.tracking import check_trackers

    plugins = load_plugins(attempt.settings)
    plugins.check_engine()
    resolved = request.backbone_fields(attempt.settings)
    backbone, options = resolved["backbone"], resolved["backbone_options"]
    baselines = tuple(name for name in request.baselines if (name, {}) != (backbone, options))
    attempt.progress(0.0, "checking the backbone")
    check_backbones(attempt.settings, plugins, {**{name: {} for name in baselines}, backbone: options})
    check_trackers(attempt.settings, plugins, request.tracker_settings())
    return request.model_copy(update={**resolved, "baselines": baselines})


def _labelled_rows(attempt: Attempt, request: Retrain, parent: ModelManifest | None) -> LabelledRows:
    """Return the rows of a checked request, and which of them train, validate and test."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.training.preparation import LabelledRows

    assert request.backbone is not None, "_checked resolves it"
    backbone = load_plugins(attempt.settings).find("backbone", request.backbone).load()
    return LabelledRows.of(
        attempt.settings,
        request.recipe(attempt.settings, None if parent is None else parent.recipe),
        request.labels,
        how=SplitOptions(by=request.split, seed=request.seed, held_out=request.held_out, replay=request.replay),
        auxiliary=request.auxiliary_labels,
        unlabelled=backbone.uses_unlabelled_users,
        parent=parent,
        progress=attempt.progress,
    )


def _is_update(parent: ModelManifest, label_set: str, segments: tuple[str, ...], request: Retrain) -> bool:
    """Return whether a fit from ``parent`` only has to learn what is new, as all else is known."""
    known = parent.pretrained is None and not parent.is_from_elsewhere
    return known and parent.label_set == label_set and parent.segments == segments and request.replay < 1


def _parent(attempt: Attempt, request: Retrain) -> tuple[ParentVersion | None, ModelManifest | None]:
    """Return the version that the fit begins as, and its manifest."""
    from segadmin.models.artifact import Saved, read_manifest
    from segadmin.models.manifest import manifest_of
    from segadmin.models.versions import find_version
    from segadmin.storage.database import transaction

    if request.start_from is None:
        return None, None
    with transaction(attempt.settings) as session:
        version = find_version(session, request.start_from, request.labels)
    assert version.id is not None
    manifest = read_manifest(attempt.settings, Saved(version.folder, version.sha256))
    manifest = manifest.model_copy(update={"imported": manifest_of(version).imported})  # which only SQL has
    return ParentVersion(version=version.id, folder=version.folder, sha256=version.sha256), manifest
