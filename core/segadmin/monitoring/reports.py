"""Reads drift reports. Imports nothing heavy, as commands that list them need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from segadmin.errors import DataError
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.storage.records import DriftReport, Evaluation, SegmentSnapshot

#: Metrics that are estimated.
METRICS = ("auroc", "macro_f1", "accuracy")
#: Difference between an estimated and a measured metric that is never called concept drift.
_NEAR = 0.02
#: Standard deviations on either side that hold 99 % of three metrics (Bonferroni), and 95 % of one.
_WIDE, _USUAL = 2.94, 1.96
#: Reports that a page of them has.
MOST_DRAWN = 100


def report_of(session: Session, snapshot: SegmentSnapshot) -> DriftReport:
    """Return the report of a snapshot.

    Raises:
        DataError: it has none.
    """
    report = session.exec(select(DriftReport).where(DriftReport.snapshot_id == snapshot.id)).first()
    if report is None:
        raise DataError(
            f"Snapshot {snapshot.id} has no drift report: it is older than such reports, or changed few users on a day "
            "that has one: segadmin drift list. "
            f"Make a new snapshot: segadmin enqueue refresh --labels {snapshot.label_set}"
        )
    return report


def report_for(session: Session, snapshot: SegmentSnapshot) -> DriftReport:
    """Return the report that holds for a snapshot: its own, or the newest before it, if it changed few users.

    Raises:
        DataError: there is none.
    """
    return newest_report(session, snapshot) or report_of(session, snapshot)


def newest_report(session: Session, snapshot: SegmentSnapshot) -> DriftReport | None:
    """Return the report of a snapshot, or the newest of an earlier one by the same model; ``None`` without one."""
    reports = _earlier_reports(snapshot, inclusive=True).order_by(col(DriftReport.snapshot_id).desc())
    return session.exec(reports.limit(1)).first()


def list_reports(
    session: Session, label_set: str | None = None, limit: int | None = None, *, before: int | None = None
) -> Sequence[tuple[DriftReport, SegmentSnapshot]]:
    """Return the reports with their snapshots, newest first, at most ``limit`` before the snapshot ``before``."""
    query = select(DriftReport, SegmentSnapshot).join(SegmentSnapshot)
    if label_set is not None:
        query = query.where(SegmentSnapshot.label_set == label_set)
    if before is not None:
        query = query.where(col(DriftReport.snapshot_id) < before)
    return session.exec(query.order_by(col(DriftReport.snapshot_id).desc()).limit(limit)).all()


@dataclass(frozen=True)
class ReportHistory:
    """Reports with their snapshots, newest first, and what was measured of these snapshots."""

    lines: Sequence[tuple[DriftReport, SegmentSnapshot]]
    measured: Mapping[int, Mapping[str, Any]]  #: snapshot → metrics


def report_history(session: Session, label_set: str | None = None, limit: int = MOST_DRAWN) -> ReportHistory:
    """Return the ``limit`` newest reports."""
    lines = list_reports(session, label_set, limit)
    return ReportHistory(lines, _measured_metrics(session, [report.snapshot_id for report, _ in lines]))


def _measured_metrics(session: Session, snapshot_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the measured metrics of the snapshots whose outcomes are known."""
    from segadmin.snapshots.outcomes import outcome_name

    names = {outcome_name(number): number for number in snapshot_ids}
    known = select(Evaluation).where(
        Evaluation.split == EvaluatedOn.OUTCOME.value, col(Evaluation.name).in_(list(names))
    )
    return {names[row.name]: row.metrics for row in session.exec(known).all()}


def reference_report(session: Session, snapshot: SegmentSnapshot) -> DriftReport | None:
    """Return the report that later snapshots of the same model version are compared with, unless it is its own."""
    references = _earlier_reports(snapshot).where(col(DriftReport.reference_id).is_(None))
    return session.exec(references.order_by(col(DriftReport.id)).limit(1)).first()


def _earlier_reports(snapshot: SegmentSnapshot, *, inclusive: bool = False) -> SelectOfScalar[DriftReport]:
    """Return the query for the reports of earlier snapshots by the same model version; ``inclusive``: and its own."""
    number = col(DriftReport.snapshot_id)
    return (
        select(DriftReport)
        .join(SegmentSnapshot)
        .where(
            SegmentSnapshot.model_version_id == snapshot.model_version_id,
            SegmentSnapshot.label_set == snapshot.label_set,
            number <= snapshot.id if inclusive else number < snapshot.id,
        )
    )


def outcomes_beside_estimates(session: Session, report: DriftReport) -> list[dict[str, Any]]:
    """Return each estimated metric of a report beside the measured one; empty while the outcomes are not known.

    Returns:
        ``snapshot``, ``metric``, the estimated ``value``, ``low`` and ``high``, ``measured``, and ``contradicts``: the
        outcomes are hardly possible if users still did the same (concept drift).
    """
    metrics = _measured_metrics(session, [report.snapshot_id]).get(report.snapshot_id, {})
    estimated = report.estimate.get("metrics", {})
    return [
        {
            "snapshot": report.snapshot_id,
            "metric": metric,
            **expected,
            "measured": measured,
            "contradicts": _contradicts(expected, measured),
        }
        for metric, expected in estimated.items()
        if (measured := metrics.get(metric)) is not None
    ]


def _contradicts(expected: dict[str, float], measured: float) -> bool:
    """Return whether a measured metric is far outside the interval of the estimated one."""
    bound = expected["high"] if measured > expected["value"] else expected["low"]
    allowed = abs(bound - expected["value"]) * _WIDE / _USUAL
    return abs(measured - expected["value"]) > max(allowed, _NEAR)


def newest_outcomes(session: Session, snapshot: SegmentSnapshot) -> list[dict[str, Any]]:
    """Return :func:`outcomes_beside_estimates` of the newest earlier snapshot of the same model that has outcomes."""
    newest_first = _earlier_reports(snapshot).order_by(col(DriftReport.snapshot_id).desc())
    for report in session.exec(newest_first).all():
        if beside := outcomes_beside_estimates(session, report):
            return beside
    return []
