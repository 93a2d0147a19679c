"""Aliases: names that refer to the current champion or snapshot, changed by compare-and-set only."""

from __future__ import annotations

from sqlmodel import Session, col, update

from segadmin.errors import ChangedMeanwhile
from segadmin.storage.database import now
from segadmin.storage.integrity import check_before_change
from segadmin.storage.records import Current, SnapshotSwitch


def pointed(session: Session, name: str) -> int | None:
    """Return the number that the alias ``name`` refers to, if any."""
    alias = session.get(Current, name, populate_existing=True)
    return None if alias is None else alias.target_id


def point(session: Session, name: str, *, expected: int | None, target: int) -> None:
    """Make the alias ``name`` refer to ``target`` if it still refers to ``expected``.

    The whole database is checked first: the page of the alias may be in order while others are damaged.

    Raises:
        DatabaseDamaged: the database is damaged.
        ChangedMeanwhile: nothing was written, and the step can be retried.
    """
    check_before_change(session)
    if expected is None and session.get(Current, name) is None:
        session.add(Current(name=name, target_id=target))
        session.flush()
        return
    swap = update(Current).where(col(Current.name) == name, col(Current.target_id) == expected)
    if session.exec(swap.values(target_id=target)).rowcount == 0:
        raise ChangedMeanwhile(f"{name} was {expected} and has become {pointed(session, name)} meanwhile; trying again")


def switch_snapshot(session: Session, label_set: str, *, expected: int | None, target: int) -> int | None:
    """Make the snapshot ``target`` the current one of a label set, if ``expected`` still is.

    Returns the number of the change; ``None`` if ``target`` was the current one already.

    The change is recorded as a :class:`SnapshotSwitch`, from which :mod:`segadmin.snapshots.feed` makes the feed.

    Raises:
        ChangedMeanwhile: another snapshot became current; nothing was written.
    """
    point(session, current_snapshot(label_set), expected=expected, target=target)
    if expected == target:
        return None
    switch = SnapshotSwitch(label_set=label_set, from_id=expected, to_id=target, created_at=now(session))
    session.add(switch)
    session.flush()  # the alias is locked until the commit, so ids ascend in the order of the commits
    return switch.id


def champion(label_set: str) -> str:
    """Return the alias of a label set's champion."""
    return f"champion:{label_set}"


def current_snapshot(label_set: str) -> str:
    """Return the alias of a label set's current snapshot."""
    return f"snapshot:{label_set}"
