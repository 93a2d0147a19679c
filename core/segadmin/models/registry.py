"""The registry by hand: promoting a version, and taking a promotion back, with the snapshot that goes with it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from shlex import quote

from sqlmodel import Session, col, select

from segadmin.errors import DataError, JobError, Stale
from segadmin.evaluation.comparison import Comparison, compare_predictions
from segadmin.models.aliases import champion, current_snapshot, point, pointed, switch_snapshot
from segadmin.models.artifact import Saved, read_manifest
from segadmin.models.canary import end_with_champion, running_canary
from segadmin.models.champion_changes import champion_change
from segadmin.models.versions import find_version
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.predictions import predictions_of
from segadmin.storage.records import CanaryState, Lock, ModelState, ModelVersion, SegmentSnapshot, SnapshotState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """What is current now."""

    label_set: str
    champion: int
    before: int | None  #: the champion until now
    snapshot: int | None  #: the current snapshot, made by the champion; ``None`` where it has not scored everybody yet
    as_of: datetime | None = None  #: of the snapshot
    switch: int | None = None  #: the change of the current snapshot, from which the feed's records are made
    canary: CanaryState | None = None  #: how the canary ended that was running


#: Any champion may be replaced.
ANY = -1


def promote_version(settings: Settings, model: str, reason: str = "", *, expected: int | None = ANY) -> Promotion:
    """Make a version champion, whatever the gate said, and its newest snapshot current, in one transaction.

    Args:
        settings: location of the database and the store.
        model: the number of the version.
        reason: for the audit log.
        expected: the champion that it is to replace; ``None``: none; :data:`ANY`: whichever there is.

    Raises:
        Stale: another version than ``expected`` is champion.
        ConfigurationError: there is no such version.
        JobError: a job is changing the same champion.
        DataError: it is champion already.
        StorageError: its folder is missing or damaged.
    """
    with reading(settings) as session:
        _check_folder(settings, find_version(session, model))
    with transaction(settings) as session:
        changed = _change(session, find_version(session, model), "models.promote", reason, expected)
    _log_change("model promoted", "promote", changed)
    return changed


def roll_back_champion(
    settings: Settings, label_set: str | None = None, reason: str = "", *, expected: int | None = ANY
) -> Promotion:
    """Make the champion before this one champion again, and its newest snapshot current, in one transaction.

    A further rollback leads to the champion before that one, and not back to the version that was rolled back.

    ``expected`` is as in :func:`promote_version`.

    Raises:
        Stale: another version than ``expected`` is champion.
        DataError: there is no champion, or none before it.
        JobError: a job is changing the same champion.
        StorageError: the folder of the one before is missing or damaged.
    """
    with reading(settings) as session:
        _check_expected(session, find_version(session, "champion", label_set).label_set, expected)
        _check_folder(settings, champion_before(session, label_set))
    with transaction(settings) as session:
        changed = _change(session, champion_before(session, label_set), "models.rollback", reason, expected)
        session.get_one(ModelVersion, changed.before).promoted_at = None
    _log_change("model rolled back", "rollback", changed)
    return changed


def champion_before(session: Session, label_set: str | None) -> ModelVersion:
    """Return the champion before the present one that was not rolled back itself, to which a rollback leads.

    Raises:
        DataError: there is no champion, or none before it.
    """
    current = find_version(session, "champion", label_set)
    before = session.exec(
        select(ModelVersion)
        .where(
            ModelVersion.label_set == current.label_set,
            ModelVersion.state == ModelState.RETIRED,
            col(ModelVersion.promoted_at).is_not(None),
        )
        .order_by(col(ModelVersion.promoted_at).desc())
        .limit(1)
    ).first()
    if before is None:
        raise DataError(
            f"Version {current.id} is the first champion of {current.label_set!r}: there is none to go back to. "
            f"{_instead(session, current.label_set)}"
        )
    return before


def _instead(session: Session, label_set: str) -> str:
    """Return what to do where there is no champion to go back to: a canary may be what is to be taken back."""
    canary = running_canary(session, label_set)
    if canary is None:
        return "Promote another: segadmin models promote VERSION"
    stop = f"segadmin models canary stop --labels {quote(label_set)}"
    return f"A canary of version {canary.challenger_id} scores {canary.share:.1%} of the users. Stop it: {stop}"


def _check_folder(settings: Settings, version: ModelVersion) -> None:
    """Verify that the files of a version are those that were saved, before it is put into use."""
    read_manifest(settings, Saved(version.folder, version.sha256))


def compare_versions(settings: Settings, one: str, other: str, label_set: str | None = None) -> Comparison:
    """Return how two versions did on the test rows that they have in common.

    A ``champion`` among them is that of ``label_set``, else that of the labels of the other.

    Raises:
        ConfigurationError: there is no such version.
        DataError: they have no rows in common, or what one said of its test rows is not kept any more.
    """
    with transaction(settings) as session:
        numbered = next((name for name in (one, other) if name != "champion"), None)
        if label_set is None and numbered is not None:
            label_set = find_version(session, numbered).label_set
        versions = [find_version(session, name, label_set) for name in (one, other)]
    first, second = (predictions_of(settings, version) for version in versions)
    pair = compare_predictions(first.rows, second.rows)
    if pair is None:
        raise DataError(
            f"Versions {versions[0].id} and {versions[1].id} were tested on no row in common. "
            "Train on the same labels: segadmin enqueue retrain --labels"
        )
    return replace(pair, erased=max(first.erased, second.erased))


def make_champion(session: Session, version: ModelVersion, *, expected: int | None) -> CanaryState | None:
    """Make ``version`` the champion of its label set, if ``expected`` still is.

    A canary that is running ends with this; the state that it ends in is returned.

    Raises:
        StorageError: another version was promoted meanwhile; nothing was written.
    """
    assert version.id is not None
    point(session, champion(version.label_set), expected=expected, target=version.id)
    if expected not in {None, version.id}:
        retired = session.get_one(ModelVersion, expected)
        retired.state = ModelState.RETIRED
        session.add(retired)
    version.state, version.promoted_at = ModelState.CHAMPION, now(session)
    session.add(version)
    return end_with_champion(session, version.label_set, version.id)


def _change(session: Session, version: ModelVersion, action: str, reason: str, expected: int | None) -> Promotion:
    assert version.id is not None
    before = _check_expected(session, version.label_set, expected)
    if before == version.id:
        raise DataError(f"Version {version.id} is champion of {version.label_set!r} already.")
    _refuse_while_changing(session, version.label_set)
    canary = make_champion(session, version, expected=before)
    snapshot = session.exec(
        select(SegmentSnapshot)
        .where(
            SegmentSnapshot.model_version_id == version.id,
            SegmentSnapshot.state == SnapshotState.PUBLISHED,
            col(SegmentSnapshot.canary_id).is_(None),  # all users were scored by this version
        )
        .order_by(col(SegmentSnapshot.published_at).desc())
        .limit(1)
    ).first()
    changed = Promotion(version.label_set, version.id, before, None, canary=canary)
    if snapshot is not None and snapshot.id is not None:
        current = pointed(session, current_snapshot(version.label_set))
        switch = switch_snapshot(session, version.label_set, expected=current, target=snapshot.id)
        changed = replace(changed, snapshot=snapshot.id, as_of=snapshot.as_of, switch=switch)
    facts = {"before": before, "after": version.id, "snapshot": changed.snapshot}
    session.add(entry(action, f"model {version.id}", reason=reason, **facts))
    return changed


def _check_expected(session: Session, label_set: str, expected: int | None) -> int | None:
    """Return the champion of a label set.

    Raises:
        Stale: it is another one than ``expected``.
    """
    before = pointed(session, champion(label_set))
    if expected not in {ANY, before}:
        change = champion_change(session, label_set)
        raise Stale(
            f"The champion of {label_set!r} is {_named(before)}, not {_named(expected)}"
            f"{f' ({change})' if change else ''}. Look at it and decide again: segadmin models list"
        )
    return before


def _named(version: int | None) -> str:
    return "none" if version is None else f"version {version}"


def _log_change(event: str, action: str, changed: Promotion) -> None:
    facts = {"version": changed.champion, "label_set": changed.label_set, "before": changed.before}
    log.info(event, extra={"action": action, **facts, "snapshot": changed.snapshot})


def _refuse_while_changing(session: Session, label_set: str) -> None:
    names = [f"{what}:{label_set}" for what in ("model", "snapshot")]
    held = session.exec(select(Lock).where(col(Lock.name).in_(names))).first()
    if held is not None:
        raise JobError(
            f"Job {held.job_id} is changing the {held.name.partition(':')[0]} of {label_set!r}. "
            f"Wait, or: segadmin jobs cancel {held.job_id}"
        )
