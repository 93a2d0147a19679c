"""The model registry: promotes a version or rolls back a promotion, with the corresponding snapshot."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from sqlmodel import Session, col, select

from segadmin.errors import DataError, JobError
from segadmin.evaluation.comparison import Comparison, compare_predictions
from segadmin.models.aliases import champion, current_snapshot, point, pointed
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, transaction
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import Lock, ModelState, ModelVersion, SegmentSnapshot, SnapshotState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """The state after a promotion."""

    label_set: str
    champion: int
    before: int | None  #: the previous champion
    snapshot: int | None  #: the current snapshot, scored by the champion; ``None`` if it has not scored yet


def promote_version(settings: Settings, model: str, reason: str = "") -> Promotion:
    """Make a version champion regardless of the gate, and its newest snapshot current, in one transaction.

    Raises:
        ConfigurationError: there is no such version.
        JobError: a job is changing the same champion.
        DataError: it is already champion.
    """
    with transaction(settings) as session:
        changed = _change(session, find_version(session, model), "models.promote", reason)
    _log_change("model promoted", "promote", changed)
    return changed


def roll_back_champion(settings: Settings, label_set: str | None = None, reason: str = "") -> Promotion:
    """Make the previous champion champion again, and its newest snapshot current, in one transaction.

    Raises:
        DataError: there is no champion, or no previous one.
        JobError: a job is changing the same champion.
    """
    with transaction(settings) as session:
        current = find_version(session, "champion", label_set)
        before = session.exec(
            select(ModelVersion)
            .where(ModelVersion.label_set == current.label_set, ModelVersion.state == ModelState.RETIRED)
            .order_by(col(ModelVersion.promoted_at).desc())
        ).first()
        if before is None:
            raise DataError(
                f"Version {current.id} is the first champion of {current.label_set!r}: there is none to go back to. "
                "Promote another: segadmin models promote VERSION"
            )
        changed = _change(session, before, "models.rollback", reason)
    _log_change("model rolled back", "rollback", changed)
    return changed


def compare_versions(settings: Settings, first: str, second: str, label_set: str | None = None) -> Comparison:
    """Compare two versions on the test rows that they share.

    ``champion`` is that of ``label_set``, by default the label set of the other version.

    Raises:
        ConfigurationError: there is no such version.
        DataError: they share no test rows, or the predictions of one are not stored any more.
    """
    with transaction(settings) as session:
        number = next((name for name in (first, second) if name != "champion"), None)
        if label_set is None and number is not None:
            label_set = find_version(session, number).label_set
        versions = [find_version(session, name, label_set) for name in (first, second)]
    first_predictions, second_predictions = (predictions_of(settings, version) for version in versions)
    comparison = compare_predictions(first_predictions.rows, second_predictions.rows)
    if comparison is None:
        raise DataError(
            f"Versions {versions[0].id} and {versions[1].id} were tested on no row in common. "
            "Train on the same labels: segadmin enqueue retrain --labels"
        )
    return replace(comparison, erased=max(first_predictions.erased, second_predictions.erased))


def make_champion(session: Session, version: ModelVersion, *, expected: int | None) -> None:
    """Make ``version`` the champion of its label set, if ``expected`` still is.

    Raises:
        StorageError: another version was promoted in the meantime; nothing was written.
    """
    assert version.id is not None
    point(session, champion(version.label_set), expected=expected, target=version.id)
    if expected not in {None, version.id}:
        retired = session.get_one(ModelVersion, expected)
        retired.state = ModelState.RETIRED
        session.add(retired)
    version.state, version.promoted_at = ModelState.CHAMPION, now(session)
    session.add(version)


def _promote(session: Session, version: ModelVersion, action: str, reason: str) -> Promotion:
    assert version.id is not None
    before = pointed(session, champion(version.label_set))
    if before == version.id:
        raise DataError(f"Version {version.id} is champion of {version.label_set!r} already.")
    _check_unlocked(session, version.label_set)
    make_champion(session, version, expected=before)
    snapshot = session.exec(
        select(SegmentSnapshot)
        .where(SegmentSnapshot.model_version_id == version.id, SegmentSnapshot.state == SnapshotState.PUBLISHED)
        .order_by(col(SegmentSnapshot.published_at).desc())
    ).first()
    if snapshot is not None and snapshot.id is not None:
        name = current_snapshot(version.label_set)
        point(session, name, expected=pointed(session, name), target=snapshot.id)
    promotion = Promotion(version.label_set, version.id, before, snapshot.id if snapshot else None)
    session.add(entry(action, f"model {version.id}", reason=reason, before=before, snapshot=promotion.snapshot))
    return promotion


def _log_change(event: str, action: str, changed: Promotion) -> None:
    facts = {"version": changed.champion, "label_set": changed.label_set, "before": changed.before}
    log.info(event, extra={"action": action, **facts, "snapshot": changed.snapshot})


def _refuse_while_changing(session: Session, label_set: str) -> None:
    names = [f"{what}:{label_set}" for what in ("model", "snapshot")]
    lock = session.exec(select(Lock).where(col(Lock.name).in_(names))).first()
    if lock is not None:
        raise JobError(
            f"Job {lock.job_id} is changing the {lock.name.partition(':')[0]} of {label_set!r}. "
            f"Wait, or: segadmin jobs cancel {lock.job_id}"
        )
