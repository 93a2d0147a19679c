"""What a server answers, as the records that commands print: a command prints them as it prints those of here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from segadmin.models.versions import VersionLine
from segadmin.storage.records import (
    Correction,
    Evaluation,
    Import,
    ImportState,
    MergeState,
    ModelVersion,
    SegmentSnapshot,
    SegmentSummary,
    UserMerge,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from segadmin_api.client import Client
    from segadmin_api.schemas import data, models, snapshots, users

Record = TypeVar("Record")
Item = TypeVar("Item", bound="BaseModel")


def as_record(kind: type[Record], item: BaseModel, **more: Any) -> Record:
    """Return an object of ``kind`` with the fields of an answer that it has, and ``more``."""
    names = {field.name for field in fields(kind)} if is_dataclass(kind) else set(kind.model_fields)  # type: ignore[attr-defined]
    return kind(**{name: value for name, value in item.model_dump().items() if name in names} | more)


def as_records(kind: type[Record], items: Iterable[Item], most: int | None = None) -> list[Record]:
    """Return an object of ``kind`` for each answer, at most ``most``."""
    return [as_record(kind, item) for item in islice(items, most)]


def as_version(item: models.ModelVersion) -> VersionLine:
    """Return a model version."""
    evaluations = [as_record(Evaluation, each, job_id=item.job_id) for each in item.evaluations]
    manifest = {"backbone_options": {"model": item.name}} if item.name != item.backbone else {}
    whole = {"manifest": getattr(item, "manifest", manifest)}
    return VersionLine(as_record(ModelVersion, item, **whole), evaluations, item.canary)


def as_snapshot(item: snapshots.Snapshot) -> SegmentSnapshot:
    """Return a snapshot."""
    return as_record(SegmentSnapshot, item)


def as_summaries(details: snapshots.SnapshotDetails) -> list[SegmentSummary]:
    """Return the segments of a snapshot."""
    return [as_record(SegmentSummary, each, snapshot_id=details.id) for each in details.segments]


def as_correction(item: users.Correction) -> Correction:
    """Return a correction."""
    return as_record(Correction, item, user_key=key_of(item.user_key))


def as_import(item: data.Import) -> Import:
    """Return an import; one that was interrupted never ended."""
    is_over = item.finished_at is not None
    return as_record(Import, item, state=ImportState(item.state) if is_over else ImportState.RUNNING)


def as_merge(item: users.Merge) -> UserMerge:
    """Return a merge of two users."""
    keys = {"old_key": key_of(item.old_key), "new_key": key_of(item.new_key)}
    return as_record(UserMerge, item, state=MergeState(item.state), **keys)


def all_versions(client: Client, labels: str | None) -> list[VersionLine]:
    """Return all model versions of a server, newest first."""
    return [as_version(item) for item in client.items(client.list_models, labels=labels)]


def key_of(pseudonym: str) -> int:
    """Return the key that a pseudonym shows."""
    from segadmin.events.keys import parse_key

    return parse_key(pseudonym)
