"""Decides whether a champion is out of date: by its age, by drift, or by a loss of quality."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, select

from segadmin.errors import DataError
from segadmin.evaluation.evaluated_on import EvaluatedOn
from segadmin.models.aliases import current_snapshot, pointed
from segadmin.models.manifest import manifest_of
from segadmin.monitoring.reports import report_for
from segadmin.storage.database import now
from segadmin.storage.records import DriftReport, Evaluation, ModelVersion, SegmentSnapshot

#: The metric whose loss counts: the one that the gate compares.
_METRIC = "auroc"


@dataclass(frozen=True)
class Triggers:
    """What makes a champion out of date."""

    max_age: timedelta | None = None
    on_drift: bool = False
    max_loss: float | None = None  #: of AUROC, against the champion's own test


@dataclass(frozen=True)
class Fired:
    """The triggers that fired, and what was looked at."""

    reasons: tuple[str, ...]  #: a clause for each trigger that fired
    others: tuple[str, ...]  #: and for each of the others


def check_triggers(session: Session, triggers: Triggers, version: ModelVersion, newest: datetime) -> Fired:
    """Return which of ``triggers`` fire for the champion ``version``.

    Args:
        session: of the database.
        triggers: those that are set.
        version: the champion.
        newest: time of the newest event.
    """
    report = current_report(session, version)
    looked = []
    if triggers.max_age is not None:
        looked.append(_age(session, triggers.max_age, version, newest))
    if triggers.on_drift:
        looked.append(_drift(report))
    if triggers.max_loss is not None:
        looked.append(_loss(session, triggers.max_loss, version, report))
    return Fired(tuple(words for fires, words in looked if fires), tuple(words for fires, words in looked if not fires))


def current_report(session: Session, version: ModelVersion) -> DriftReport | None:
    """Return the report that holds for the current snapshot, if ``version`` made it and there is one."""
    number = pointed(session, current_snapshot(version.label_set))
    snapshot = None if number is None else session.get(SegmentSnapshot, number)
    if snapshot is None or snapshot.model_version_id != version.id:
        return None
    try:
        return report_for(session, snapshot)
    except DataError:
        return None


def _age(session: Session, max_age: timedelta, version: ModelVersion, newest: datetime) -> tuple[bool, str]:
    """Compare the age: in the events' time, but for a version of another store in that of the clock."""
    manifest = manifest_of(version)
    latest = None if manifest.is_from_elsewhere else manifest.data.latest_event
    if latest is None:
        age, since = now(session) - version.created_at, f"imported on {version.created_at:%Y-%m-%d}"
    else:
        age, since = newest - latest, f"trained with events until {latest:%Y-%m-%d}"
    days, allowed = age / timedelta(days=1), max_age / timedelta(days=1)
    return age >= max_age, f"the champion is {days:.0f} d old, {since} (--max-age {allowed:g}d)"


def _drift(report: DriftReport | None) -> tuple[bool, str]:
    """Look for drift of distributions or concepts; missing events are no reason to train on what is left."""
    if report is None:
        return False, "there is no drift report yet"
    drifted = [str(finding["name"]) for finding in report.findings if finding["drifted"]]
    broken = [outcome["metric"] for outcome in report.outcomes if outcome["contradicts"]]
    reasons = [f"{len(drifted)} of {len(report.findings)} distributions drifted"] if drifted else []
    reasons += [f"{' and '.join(broken)} differ from their estimates"] if broken else []
    if not reasons:
        return False, f"snapshot {report.snapshot_id} has no drift"
    return True, f"{' and '.join(reasons)} in snapshot {report.snapshot_id} (--on-drift)"


def _loss(session: Session, allowed: float, version: ModelVersion, report: DriftReport | None) -> tuple[bool, str]:
    """Compare AUROC with that of the champion's own test: as it was measured, and as it is estimated.

    An estimate of few users may be low by chance, so its whole interval must be below the test.
    """
    tested = _tested(session, version)
    if tested is None:
        return False, f"model version {version.id} has no test whose AUROC could be compared"
    measured, estimated = _measured(report), _estimated(report)
    if measured is not None and tested - measured >= allowed:
        return True, f"AUROC is measured as {measured:.4f} and was {tested:.4f} in the test (--max-loss {allowed:g})"
    if estimated and tested - estimated["value"] >= allowed and estimated["high"] < tested:
        value = f"{estimated['value']:.4f} [{estimated['low']:.4f}, {estimated['high']:.4f}]"
        return True, f"AUROC is estimated as {value} and was {tested:.4f} in the test (--max-loss {allowed:g})"
    known = measured if measured is not None else estimated.get("value")
    if known is None:
        return False, "AUROC is neither measured nor estimated yet"
    return False, f"AUROC is {known:.4f} and was {tested:.4f} in the test"


def _tested(session: Session, version: ModelVersion) -> float | None:
    own = (Evaluation.model_version_id == version.id, Evaluation.split == EvaluatedOn.TEST.value)
    evaluation = session.exec(select(Evaluation).where(*own)).first()
    return None if evaluation is None else evaluation.metrics.get(_METRIC)


def _measured(report: DriftReport | None) -> float | None:
    """Return AUROC as the newest outcomes that are known showed it."""
    outcomes = () if report is None else report.outcomes
    return next((outcome["measured"] for outcome in outcomes if outcome["metric"] == _METRIC), None)


def _estimated(report: DriftReport | None) -> dict[str, float]:
    """Return ``value``, ``low`` and ``high`` of the estimated AUROC; empty if it is not known."""
    metrics: dict[str, dict[str, float]] = {} if report is None else report.estimate.get("metrics", {})
    return metrics.get(_METRIC, {})
