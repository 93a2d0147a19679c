"""The last stage of ``refresh``: if a trigger fires, a job is enqueued that updates or retrains the champion."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from sqlmodel import Session, col, select

from segadmin.jobs.attempt import Attempt, Json, StageOutput, StageResult
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import FOLLOW_UP_KEY, save
from segadmin.jobs.registry import Stage
from segadmin.jobs.requests import check_request, current_names
from segadmin.models.aliases import champion, pointed
from segadmin.models.canary import running_canary
from segadmin.models.manifest import ModelManifest, manifest_of
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import Job, JobState, LabelSet, ModelVersion
from segadmin.workflows.prepared import PreparedSegments
from segadmin.workflows.update_request import UpdatePolicy, UpdateRequest

if TYPE_CHECKING:
    from segadmin.monitoring.triggers import Triggers
    from segadmin.text.recipe import Recipe

log = logging.getLogger(__name__)
#: Fraction of the rows that the champion was trained on which an update trains on again, so that none is forgotten.
#: It is less than the default of ``--replay``, to save time; ``bench/updates.py`` measures what old rows lose.
REPLAY = 0.1


class FollowUpOutput(StageOutput):
    """Whether a job was enqueued, and why or why not."""

    stage: ClassVar[str] = "follow_up"

    policy: str = ""
    reason: str = ""  #: which triggers fired
    note: str = ""  #: why nothing was enqueued
    job_id: int | None = None  #: the job that was enqueued


def follow_up(attempt: Attempt) -> StageResult:
    """Look at the triggers of the policy, and enqueue a ``retrain`` in the transaction that ends this step.

    It is enqueued once for a champion and the newest labels that it could be trained on: if the gate refuses the new
    version, or the job fails, the next refresh does not try the same again.
    """
    from segadmin.monitoring.triggers import check_triggers

    settings, prepared = attempt.settings, attempt.output(PreparedSegments)
    options = attempt.options
    request = _Options.model_validate({name: options[name] for name in _Options.model_fields if name in options})
    with reading(settings) as session:
        current = pointed(session, champion(prepared.label_set))
        version = session.get(ModelVersion, prepared.model_version_id)
        if version is None or current != version.id:
            return _nothing(request, note="the champion changed meanwhile")
        fired = check_triggers(session, _triggers(request), version, prepared.window.as_of)
        label_set = session.get(LabelSet, prepared.label_set)
        origin = session.get(Job, version.job_id)
        root = _pretrained_root(session, version)
    if not fired.reasons:
        return _nothing(request, note=f"no trigger fired: {'; '.join(fired.others)}")
    reason, manifest = "; ".join(fired.reasons), manifest_of(version)
    if label_set is None:
        return _nothing(request, reason, f"there are no labels {prepared.label_set!r} any more")
    newest = _newest_labels(settings, label_set, version, manifest)
    if newest is None:
        return _nothing(request, reason, _no_labels(settings, label_set))
    begin = str(version.id) if request.policy == UpdatePolicy.UPDATE else root
    asked = {
        "start_from": begin,
        "replay": REPLAY,
        "extend_labels": True,
        "reason": f"{request.policy}: {reason}"[:500],
    }
    checked = check_request(settings, "retrain", made_like(version, manifest, origin) | asked)
    key = f"{FOLLOW_UP_KEY}{quote(version.label_set, safe='')}:{version.id}:{request.policy}:{newest}"
    messages: list[StepMessage] = []

    def commit(session: Session) -> Json:
        if note := _in_the_way(session, version.label_set, key):
            return {"note": note}
        job, ready = save(session, settings, "retrain", checked, key=key)
        messages.extend(ready)
        return {"job_id": job.id}

    def after() -> None:
        facts = {"action": "follow_up", "policy": str(request.policy), "version": version.id, "reason": reason}
        log.warning("the champion is out of date", extra={**facts, "enqueued": bool(messages)})

    output = FollowUpOutput(policy=request.policy, reason=reason)
    return StageResult(output, commit=commit, messages=messages, after=after)


class _Options(UpdateRequest):
    """Of a refresh, what this stage needs."""


def _triggers(request: UpdateRequest) -> Triggers:
    from segadmin.monitoring.triggers import Triggers

    age = None if request.max_age_days is None else timedelta(days=request.max_age_days)
    return Triggers(age, request.on_drift, request.max_loss)


def _nothing(request: UpdateRequest, reason: str = "", note: str = "") -> StageResult:
    """Return that nothing is enqueued; it is worth a line in the log where a trigger fired."""
    facts = {"action": "follow_up", "policy": str(request.policy), "reason": reason, "note": note}
    (log.warning if reason else log.info)("no model is trained", extra=facts)
    return StageResult(FollowUpOutput(policy=request.policy, reason=reason, note=note))


def _newest_labels(
    settings: Settings, label_set: LabelSet, version: ModelVersion, manifest: ModelManifest
) -> str | None:
    """Return which labels the champion was not trained on, as a part of a key; ``None`` if it knows all."""
    from segadmin.labels.later import new_cutoffs

    trained = () if manifest.is_from_elsewhere else manifest.data.trained_cutoffs
    cutoffs = new_cutoffs(settings, label_set, trained, manifest.split)
    if cutoffs is None:  # labels without times are of the newest event, whenever that is: new if imported since
        return label_set.created_at.isoformat() if label_set.created_at > version.created_at else None
    return max(cutoffs).isoformat() if cutoffs else None


def _no_labels(settings: Settings, label_set: LabelSet) -> str:
    from segadmin.labels.later import labels_later_weeks

    name = label_set.name
    if labels_later_weeks(settings, label_set):
        return f"the champion knows all labels of {name!r}; later ones are known when their weeks are over"
    return (
        f"the champion knows all labels of {name!r}, and no later ones can be derived from events. "
        f"Import newer ones: segadmin data import labels FILE --name {name}"
    )


def _in_the_way(session: Session, label_set: str, key: str) -> str:
    """Return why no further job is enqueued; empty if one may be."""
    if (canary := running_canary(session, label_set)) is not None:
        return f"version {canary.challenger_id} is a canary: it is decided first"
    earlier = session.exec(select(Job).where(Job.idempotency_key == key)).first()
    if earlier is not None:
        again = f". Try again: segadmin jobs retry {earlier.id}" if earlier.state in _RETRYABLE else ""
        return f"job {earlier.id} was enqueued for the same champion and labels, and is {earlier.state}{again}"
    open_jobs = select(Job).where(Job.kind == "retrain", col(Job.state).in_([JobState.QUEUED, JobState.RUNNING]))
    for job in session.exec(open_jobs.order_by(col(Job.id))).all():
        if job.options.get("labels") == label_set:
            return f"job {job.id} trains a model of {label_set!r} already"
    return ""


_RETRYABLE = (JobState.FAILED, JobState.CANCELLED)


def _pretrained_root(session: Session, version: ModelVersion) -> str | None:
    """Return the pretrained version from which ``version`` and those before it came, if any."""
    seen: set[int | None] = set()
    while version.id not in seen:
        seen.add(version.id)
        manifest = manifest_of(version)
        if manifest.pretrained is not None:
            return str(version.id)
        parent = None if manifest.started_from is None else session.get(ModelVersion, manifest.started_from)
        if parent is None:
            return None
        version = parent
    return None


def made_like(version: ModelVersion, manifest: ModelManifest, origin: Job | None) -> dict[str, Any]:
    """Return the options of a ``retrain`` that makes a model like ``version``.

    Args:
        version: a trained model version.
        manifest: of it.
        origin: the job that made it; that of an imported version trained nothing.
    """
    if origin is not None and origin.kind == "retrain":
        options = current_names("retrain", origin.options)
    else:
        options = _text_options(manifest.recipe)
    return {
        **options,
        "labels": version.label_set,
        "backbone": manifest.backbone,
        "backbone_options": manifest.backbone_options,
        "auxiliary_labels": list(manifest.learnt_beside),
        "split": manifest.split,
        "held_out": manifest.held_out,
        "seed": manifest.seed,
        "min_precision": manifest.precision,
        "force": False,
    }


def _text_options(recipe: Recipe) -> dict[str, Any]:
    """Return the options of a ``retrain`` that makes texts by ``recipe``."""
    names = ("textualizer", "textualizer_options", "language", "window_days", "max_phrases")
    options: dict[str, Any] = {name: getattr(recipe, name) for name in names}
    if recipe.templates:
        options["templates"] = {recipe.language: recipe.templates}
    if (modality := recipe.modality) is not None:
        options |= {"modality": modality.name, "modality_options": modality.options, "modality_vector": modality.vector}
    return options


def stages_to_skip(policy: UpdatePolicy) -> tuple[str, ...]:
    """Return the stages that a refresh with this policy does not need."""
    return (FOLLOW_UP.name,) if policy == UpdatePolicy.SCORE_ONLY else ()


FOLLOW_UP = Stage("follow_up", follow_up, after=("monitor", "canary"), may_fail=True)
