"""What a report of a snapshot tells: its segments, who moved, how good the model is, drift and freshness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from segadmin.models.card import ModelCard, card_of
from segadmin.models.versions import VersionLine, evaluations_of
from segadmin.monitoring.reports import newest_report
from segadmin.settings import Settings
from segadmin.snapshots.read import currents, find_snapshot, summaries
from segadmin.snapshots.trend import Trend, segment_trend
from segadmin.storage.database import reading
from segadmin.storage.records import DriftReport, ModelVersion, SegmentSnapshot, SegmentSummary

if TYPE_CHECKING:
    from segadmin.snapshots.diff import SnapshotDiff


@dataclass(frozen=True)
class Precision:
    """How often the model is right about the users whom it puts in a segment, on its test rows."""

    segment: str
    rows: int  #: that it puts there
    right: int

    @property
    def share(self) -> float | None:
        """The fraction of the rows about which it is right; ``None`` without rows."""
        return self.right / self.rows if self.rows else None


@dataclass(frozen=True)
class SnapshotReport:
    """A snapshot in numbers; nothing in it is about a single user."""

    snapshot: SegmentSnapshot
    is_current: bool
    segments: Sequence[SegmentSummary]
    trend: Trend
    compared: SnapshotDiff | None  #: with the snapshot before; ``None``: there is none
    model: VersionLine
    card: ModelCard
    drift: DriftReport | None

    @property
    def precision(self) -> list[Precision]:
        """How often the model is right, by segment; empty if it was not tested."""
        confusion = self.model.tested.confusion if self.model.tested else []
        return [
            Precision(segment, sum(row[n] for row in confusion), confusion[n][n])
            for n, segment in enumerate(self.model.version.segments[: len(confusion)])
        ]

    @property
    def accuracy(self) -> float | None:
        """The fraction of the test rows about which the model is right; ``None`` if it was not tested."""
        rows = sum(each.rows for each in self.precision)
        return sum(each.right for each in self.precision) / rows if rows else None

    @property
    def auroc(self) -> float | None:
        """How well the model separates the segments on its test rows, 0.5 to 1; ``None`` if that is not known."""
        value = self.model.tested.metrics.get("auroc") if self.model.tested else None
        return None if value is None else float(value)

    @property
    def matrix(self) -> Mapping[tuple[str | None, str | None], int]:
        """Users by segment before and after, see :attr:`SnapshotDiff.matrix`; empty without a snapshot before."""
        return self.compared.matrix if self.compared else {}


def read_report(settings: Settings, snapshot: str = "current", label_set: str | None = None) -> SnapshotReport:
    """Return the report of a snapshot: its number, or ``current`` (of ``label_set``).

    Raises:
        SnapshotNotFound: there is no such published snapshot.
        ConfigurationError: several are current.
        DataError: there are no snapshots yet.
    """
    with reading(settings) as session:
        row = find_snapshot(session, snapshot, label_set)
        before = None if row.previous_id is None else session.get(SegmentSnapshot, row.previous_id)
        version = session.get_one(ModelVersion, row.model_version_id)
        rows = summaries(session, row.id or 0)
        trend = segment_trend(session, row.label_set, until=row.id)
        drift, is_current = newest_report(session, row), row.id in currents(session).values()
        model = VersionLine(version, evaluations_of(session, version))
    return SnapshotReport(
        snapshot=row,
        is_current=is_current,
        segments=rows,
        trend=trend,
        compared=_compared(settings, before, row),
        model=model,
        card=card_of(settings, str(version.id)),
        drift=drift,
    )


def report_facts(report: SnapshotReport) -> dict[str, Any]:
    """Return a report as JSON."""
    snapshot, drift = report.snapshot, report.drift
    cells = sorted(report.matrix.items(), key=lambda cell: [name or "" for name in cell[0]])
    return {
        "snapshot": snapshot.model_dump(mode="json") | {"current": report.is_current},
        "segments": [row.model_dump(mode="json", exclude={"id", "snapshot_id"}) for row in report.segments],
        "trend": TypeAdapter(type(report.trend)).dump_python(report.trend, mode="json"),
        "movement": [{"before": before, "after": after, "users": users} for (before, after), users in cells],
        "model": {
            "version": report.card.version,
            "name": report.model.name,
            "auroc": report.auroc,
            "accuracy": report.accuracy,
            "precision": [asdict(each) | {"share": each.share} for each in report.precision],
        },
        "drift": drift and {name: getattr(drift, name) for name in ("snapshot_id", "drifted", "alarms", "findings")},
    }


def _compared(settings: Settings, before: SegmentSnapshot | None, now: SegmentSnapshot) -> SnapshotDiff | None:
    from segadmin.snapshots.recent_diffs import recent_diff

    return None if before is None else recent_diff(settings, before, now)
