"""What a server answers with, as the records that commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segadmin.models.versions import VersionLine
from segadmin.settings import Settings
from segadmin.storage.records import Evaluation, ModelVersion, SegmentSnapshot, SegmentSummary, SnapshotState
from segadmin_api.cli.remote import connected

if TYPE_CHECKING:
    from segadmin_api.schemas import models, snapshots


def list_versions(settings: Settings, labels: str | None) -> list[VersionLine]:
    """Return all model versions of a server, newest first."""
    lines: list[VersionLine] = []
    cursor = None
    with connected(settings) as client:
        while True:
            page = client.list_models(labels=labels, limit=1000, cursor=cursor)
            lines += map(_version, page.items)
            if (cursor := page.next) is None:
                return lines


def show_version(settings: Settings, version: str, labels: str | None) -> VersionLine:
    """Return a model version of a server."""
    with connected(settings) as client:
        details = client.show_model(version, labels=labels)
    line = _version(details)
    line.version.manifest = details.manifest
    return line


def list_snapshots(settings: Settings, labels: str | None) -> tuple[list[SegmentSnapshot], set[int | None]]:
    """Return all published snapshots of a server, newest first, and which of them are current."""
    rows: list[SegmentSnapshot] = []
    current: set[int | None] = set()
    cursor = None
    with connected(settings) as client:
        while True:
            page = client.list_snapshots(labels=labels, limit=1000, cursor=cursor)
            rows += map(_snapshot, page.items)
            current |= {item.id for item in page.items if item.current}
            if (cursor := page.next) is None:
                return rows, current


def show_snapshot(settings: Settings, number: str, labels: str | None) -> tuple[SegmentSnapshot, list[SegmentSummary]]:
    """Return a snapshot of a server and its segments."""
    with connected(settings) as client:
        details = client.show_snapshot(number, labels=labels)
    segments = [SegmentSummary(**segment.model_dump(), snapshot_id=details.id) for segment in details.segments]
    row = _snapshot(details)
    row.inference = details.inference
    return row, segments


def _version(item: models.ModelVersion) -> VersionLine:
    evaluations = [Evaluation(**each.model_dump(), job_id=item.job_id) for each in item.evaluations]
    facts = item.model_dump(exclude={"evaluations", "name", "champion"})
    manifest = {"backbone_options": {"model": item.name}} if item.name != item.backbone else {}
    return VersionLine(ModelVersion(**{"folder": "", "manifest": manifest} | facts), evaluations)


def _snapshot(item: snapshots.Snapshot) -> SegmentSnapshot:
    return SegmentSnapshot(
        **item.model_dump(exclude={"current", "segments", "inference"}), state=SnapshotState.PUBLISHED
    )
