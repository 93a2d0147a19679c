"""Calls of the HTTP API: what each sends and what it returns, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from segadmin.storage.records import JobState
from segadmin_api.schemas.data import LabelSets, Schedules, Whoami
from segadmin_api.schemas.jobs import BulkAnswer, Enqueued, Estimate, Job, JobDetails, JobFilter, LogLines, Retried
from segadmin_api.schemas.models import Canary, Comparison, ModelDetails, ModelVersion, Promotion
from segadmin_api.schemas.pages import Page
from segadmin_api.schemas.segments import Description, SegmentDetails
from segadmin_api.schemas.snapshots import Member, Segments, Snapshot, SnapshotDetails, SnapshotDiff, User, UserText
from segadmin_api.schemas.users import Corrected

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request, and the type of its answer."""

    method: str
    path: str
    answer: type[Answer]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_be_repeated(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        return self.method == "GET" or "Idempotency-Key" in self.headers


def whoami() -> Call[Whoami]:
    """Return what the key gives access to."""
    return Call("GET", "/v1/whoami", Whoami)


def list_jobs(
    *,
    kind: Sequence[str] = (),
    state: Sequence[JobState | str] = (),
    before: int | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Call[Page[Job]]:
    """Return a page of jobs, newest first: those older than ``before``; ``cursor`` is ``next`` of the page before."""
    query = {"kind": list(kind), "state": list(map(str, state)), "before": before, "limit": limit, "cursor": cursor}
    return Call("GET", "/v1/jobs", Page[Job], query)


def show_job(job: int) -> Call[JobDetails]:
    """Return a job with its steps; raises :class:`segadmin.errors.JobNotFound`."""
    return Call("GET", f"/v1/jobs/{job}", JobDetails)


def enqueue(
    kind: str, options: Mapping[str, Any] | None = None, *, key: str | None = None, priority: int = 5
) -> Call[Enqueued]:
    """Ask for a job, once however often the request is repeated.

    Args:
        kind: of the job, such as ``refresh``.
        options: those of ``segadmin enqueue``, with ``_`` for ``-``.
        key: idempotency key; the same request with the same key makes no second job. Default: a new one.
        priority: 0 (lowest) to 9 (highest).
    """
    body = {"kind": kind, "options": dict(options or {}), "priority": priority}
    return Call("POST", "/v1/jobs", Enqueued, body=body, headers={"Idempotency-Key": key or uuid.uuid4().hex})


def estimate(kind: str, options: Mapping[str, Any] | None = None) -> Call[Estimate]:
    """Estimate what a job would take; nothing is enqueued. Arguments as of :func:`enqueue`."""
    return Call("POST", "/v1/jobs/estimate", Estimate, body={"kind": kind, "options": dict(options or {})})


def show_job_logs(job: int, *, step: int | None = None, stage: str | None = None, limit: int = 300) -> Call[LogLines]:
    """Return the last lines that the steps of a job have logged, or those of one step or stage."""
    return Call("GET", f"/v1/jobs/{job}/logs", LogLines, {"step": step, "stage": stage, "limit": limit})


def cancel_job(job: int) -> Call[JobDetails]:
    """Cancel a job; raises :class:`segadmin.errors.InvalidTransition` if it is over."""
    return Call("POST", f"/v1/jobs/{job}/cancel", JobDetails)


def retry_job(job: int, *, from_start: bool = False) -> Call[Retried]:
    """Run what failed or was cancelled again; ``from_start``: everything."""
    return Call("POST", f"/v1/jobs/{job}/retry", Retried, body={"from_start": from_start})


def cancel_jobs(selected: JobFilter) -> Call[BulkAnswer]:
    """Cancel all jobs of a filter."""
    return Call("POST", "/v1/jobs/cancel", BulkAnswer, body=_filter(selected))


def retry_jobs(selected: JobFilter) -> Call[BulkAnswer]:
    """Retry the jobs of a filter."""
    return Call("POST", "/v1/jobs/retry", BulkAnswer, body=_filter(selected))


def list_models(*, labels: str | None = None, limit: int = 50, cursor: str | None = None) -> Call[Page[ModelVersion]]:
    """Return a page of model versions, newest first."""
    return Call("GET", "/v1/models", Page[ModelVersion], {"labels": labels, "limit": limit, "cursor": cursor})


def show_model(version: int | str = "champion", *, labels: str | None = None) -> Call[ModelDetails]:
    """Return a model version: its number, or ``champion`` (of ``labels``)."""
    return Call("GET", f"/v1/models/{_part(version)}", ModelDetails, {"labels": labels})


def compare_models(version: int | str, other: int | str = "champion", *, labels: str | None = None) -> Call[Comparison]:
    """Compare two versions on their common test rows."""
    query = {"other": other, "labels": labels}
    return Call("GET", f"/v1/models/{_part(version)}/compare", Comparison, query)


def promote_model(version: int, *, champion: int | None, reason: str = "") -> Call[Promotion]:
    """Make a version champion, if ``champion`` still is (``None``: if there is none).

    Raises :class:`segadmin.errors.Stale` if another version is champion by now.
    """
    body, headers = {"reason": reason}, _if_champion(champion)
    return Call("POST", f"/v1/models/{version}/promote", Promotion, body=body, headers=headers)


def roll_back_model(*, champion: int, labels: str | None = None, reason: str = "") -> Call[Promotion]:
    """Make the champion before ``champion`` champion again, if that still is."""
    body, headers = {"labels": labels, "reason": reason}, _if_champion(champion)
    return Call("POST", "/v1/models/rollback", Promotion, body=body, headers=headers)


def list_canaries(*, labels: str | None = None, limit: int = 50, cursor: str | None = None) -> Call[Page[Canary]]:
    """Return a page of canaries, newest first."""
    return Call("GET", "/v1/models/canary", Page[Canary], {"labels": labels, "limit": limit, "cursor": cursor})


def show_canary(number: int) -> Call[Canary]:
    """Return a canary with its newest comparison."""
    return Call("GET", f"/v1/models/canary/{number}", Canary)


def stop_canary(number: int, *, reason: str = "") -> Call[Canary]:
    """Stop a canary; the champion scores its users again from the next refresh on."""
    return Call("POST", f"/v1/models/canary/{number}/stop", Canary, body={"reason": reason})


def list_snapshots(*, labels: str | None = None, limit: int = 50, cursor: str | None = None) -> Call[Page[Snapshot]]:
    """Return a page of published snapshots, newest first."""
    return Call("GET", "/v1/snapshots", Page[Snapshot], {"labels": labels, "limit": limit, "cursor": cursor})


def show_snapshot(snapshot: int | str = "current", *, labels: str | None = None) -> Call[SnapshotDetails]:
    """Return a snapshot with its segments: its number, or ``current`` (of ``labels``)."""
    return Call("GET", f"/v1/snapshots/{_part(snapshot)}", SnapshotDetails, {"labels": labels})


def compare_snapshots(
    snapshot: int | str = "current", *, earlier: int | None = None, labels: str | None = None
) -> Call[SnapshotDiff]:
    """Return who moved between two snapshots; default: since the one before."""
    query = {"earlier": earlier, "labels": labels}
    return Call("GET", f"/v1/snapshots/{_part(snapshot)}/diff", SnapshotDiff, query)


def list_members(
    snapshot: int,
    *,
    segment: str | None = None,
    min_probability: float = 0.0,
    user_ids: bool = False,
    limit: int = 1000,
    cursor: str | None = None,
) -> Call[Page[Member]]:
    """Return a page of the users of a snapshot, under pseudonyms; ``user_ids`` needs a key for analysts."""
    wanted = {"segment": segment, "min_probability": min_probability, "user_ids": str(user_ids).lower()}
    page = {"limit": limit, "cursor": cursor}
    return Call("GET", f"/v1/snapshots/{snapshot}/members", Page[Member], wanted | page)


def export_snapshot(
    snapshot: int,
    *,
    segment: str | None = None,
    min_probability: float = 0.0,
    with_user_ids: bool = False,
    file_format: str = "csv",
    key: str | None = None,
) -> Call[Enqueued]:
    """Ask for a file of the users of a snapshot: ``csv``, ``jsonl`` or ``parquet``; ``key`` as of :func:`enqueue`."""
    body = {"snapshot": snapshot, "segment": segment, "min_probability": min_probability}
    body |= {"with_user_ids": with_user_ids, "file_format": file_format}
    return Call("POST", "/v1/exports", Enqueued, body=body, headers={"Idempotency-Key": key or uuid.uuid4().hex})


def list_segments(*, labels: str | None = None) -> Call[Segments]:
    """Return the segments of the current snapshots."""
    return Call("GET", "/v1/segments", Segments, {"labels": labels})


def show_segment(label_set: str, segment: str) -> Call[SegmentDetails]:
    """Return a segment of the current snapshot: what it is for, what distinguishes it, and who moved."""
    return Call("GET", f"/v1/segments/{_part(label_set)}/{_part(segment)}", SegmentDetails)


def describe_segment(
    label_set: str,
    segment: str,
    *,
    description: str | None = None,
    owner: str | None = None,
    revision: int | None = None,
) -> Call[Description]:
    """Write what a segment is for; raises :class:`segadmin.errors.Stale` if it is not at ``revision`` any more."""
    body = {name: text for name, text in (("description", description), ("owner", owner)) if text is not None}
    match = {"If-Match": "*" if revision is None else f'"description-{revision}"'}
    path = f"/v1/segments/{_part(label_set)}/{_part(segment)}"
    return Call("PUT", path, Description, body=body, headers=match)


def correct_user(
    user: str, segment: str, reason: str, *, labels: str | None = None, expires_at: str | None = None, weight: int = 1
) -> Call[Corrected]:
    """Put a user in a segment, whatever the model says, until ``expires_at`` (ISO 8601; ``None``: for good)."""
    body = {"segment": segment, "reason": reason, "labels": labels, "expires_at": expires_at, "weight": weight}
    return Call("POST", f"/v1/users/{_part(user)}/corrections", Corrected, body=body)


def withdraw_correction(user: str, reason: str, *, labels: str | None = None) -> Call[Corrected]:
    """End the correction of a user."""
    query = {"reason": reason, "labels": labels}
    return Call("DELETE", f"/v1/users/{_part(user)}/corrections", Corrected, query)


def show_user(user: str) -> Call[User]:
    """Return the segment of a user in every snapshot; raises :class:`segadmin.errors.UserNotFound`."""
    return Call("GET", f"/v1/users/{_part(user)}", User)


def show_user_text(user: str, *, labels: str | None = None) -> Call[UserText]:
    """Return the text that the current model reads of a user; needs a key for analysts."""
    return Call("GET", f"/v1/users/{_part(user)}/text", UserText, {"labels": labels})


def list_label_sets() -> Call[LabelSets]:
    """Return the label sets."""
    return Call("GET", "/v1/label-sets", LabelSets)


def list_schedules() -> Call[Schedules]:
    """Return the schedules, the next one due first."""
    return Call("GET", "/v1/schedules", Schedules)


def _part(value: object) -> str:
    return quote(str(value), safe="")


def _filter(selected: JobFilter) -> dict[str, Any]:
    return selected.model_dump(mode="json", exclude_defaults=True)


def _if_champion(champion: int | None) -> dict[str, str]:
    return {"If-Match": f'"champion-{"none" if champion is None else champion}"'}
