"""The feed: who entered, left or moved between segments, whenever another snapshot becomes current.

Each change of a current snapshot is recorded in SQL, in the transaction that makes it
(:func:`segadmin.models.aliases.switch_snapshot`). From these, the records are computed and written to the table
``changes`` of the lake, in order and once each. A publication, a promotion and a rollback are the same here: a
difference between the snapshot that was current and the one that is now. So all records of a label set, applied in
the order of ``sequence`` and ``position``, rebuild the current snapshot.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl
from sqlmodel import col, select, update

from segadmin import failpoints
from segadmin.events.merge import merged_keys
from segadmin.settings import Settings
from segadmin.snapshots.changes import cause_of_departure
from segadmin.snapshots.policy import Cause
from segadmin.snapshots.read import assignments
from segadmin.storage.database import reading, transaction
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import SegmentSnapshot, SnapshotSwitch
from segadmin.storage.schema import ASSIGNMENTS, time_literal

_NOBODY = pl.Series("user_key", [], pl.Int64)


class Change(StrEnum):
    """What happened to a user."""

    ENTERED = "entered"  #: the user was not in the snapshot before
    LEFT = "left"  #: the user is not in the new snapshot
    MOVED = "moved"  #: the user is in another segment, or was or is in none


def write_changes(settings: Settings, label_set: str) -> None:
    """Write the records that are missing in the table ``changes``, exactly once.

    Hold :func:`segadmin.storage.import_lock.users_stay`, so that no user is erased meanwhile.

    Raises:
        StorageError: the lake cannot be read or written; nothing is lost.
    """
    missing = select(SnapshotSwitch).where(SnapshotSwitch.label_set == label_set, col(SnapshotSwitch.changes).is_(None))
    with reading(settings) as session:
        switches = session.exec(missing.order_by(col(SnapshotSwitch.id))).all()
    for switch in switches:
        assert switch.id is not None
        records = records_of(settings, switch)
        Lake.of(settings).append("changes", records, Commit(f"changes:{label_set}", switch.id))
        failpoints.reach("changes")
        with transaction(settings) as session:
            done = update(SnapshotSwitch).where(col(SnapshotSwitch.id) == switch.id)
            session.exec(done.values(changes=records.height))


def records_of(settings: Settings, switch: SnapshotSwitch) -> pl.DataFrame:
    """Return the records of a change of the current snapshot, with the columns of ``CHANGES``.

    The cause of a publication is why the user was scored; it is null if an older release scored the user. The cause
    of a promotion or a rollback is the other model.
    """
    with reading(settings) as session:
        snapshot = session.get_one(SegmentSnapshot, switch.to_id)
    before = pl.LazyFrame(schema=ASSIGNMENTS) if switch.from_id is None else assignments(settings, switch.from_id)
    after = assignments(settings, switch.to_id)
    if switch.from_id != snapshot.previous_id:
        after = after.with_columns(cause=pl.lit(Cause.MODEL.value))
    return changes_between(before, after, merged_keys(settings, switch.created_at)).with_columns(
        label_set=pl.lit(switch.label_set),
        sequence=pl.lit(switch.id, pl.Int64),
        snapshot_id=pl.lit(switch.to_id, pl.Int64),
        as_of=time_literal(snapshot.as_of),
    )


def changes_between(before: pl.LazyFrame, after: pl.LazyFrame, merged: pl.Series = _NOBODY) -> pl.DataFrame:
    """Return a row for each user who is in another segment, or in only one of two snapshots.

    Args:
        before: ``user_key`` and ``segment`` of the users of the snapshot before.
        after: the same of the snapshot now, and ``cause``.
        merged: see :func:`segadmin.events.merge.merged_keys`.

    Returns:
        ``position`` (from 1, in the order of the keys), ``user_key``, ``change``, ``from_segment``, ``to_segment``
        and ``cause``.
    """
    old = before.select("user_key", was_in=pl.lit(value=True), from_segment="segment")
    new = after.select("user_key", "cause", is_in=pl.lit(value=True), to_segment="segment")
    has_entered, has_left = pl.col("was_in").is_null(), pl.col("is_in").is_null()
    has_moved = pl.col("from_segment").ne_missing(pl.col("to_segment"))
    change = pl.when(has_entered).then(pl.lit(Change.ENTERED.value)).when(has_left).then(pl.lit(Change.LEFT.value))
    return (
        old.join(new, on="user_key", how="full", coalesce=True)
        .filter(has_entered | has_left | has_moved)
        .with_columns(
            change=change.otherwise(pl.lit(Change.MOVED.value)),
            cause=pl.when(has_left).then(cause_of_departure(merged)).otherwise("cause"),
        )
        .sort("user_key")
        .with_row_index("position", offset=1)
        .select("position", "user_key", "change", "from_segment", "to_segment", "cause")
        .collect()
    )
