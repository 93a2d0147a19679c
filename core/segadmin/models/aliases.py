"""What is current, by name; changed by compare-and-set only."""

from __future__ import annotations

from sqlmodel import Session, col, update

from segadmin.errors import StorageError
from segadmin.storage.records import Current


def pointed(session: Session, name: str) -> int | None:
    """Return what ``name`` points to."""
    found = session.get(Current, name, populate_existing=True)
    return None if found is None else found.target_id


def point(session: Session, name: str, *, expected: int | None, target: int) -> None:
    """Let ``name`` point to ``target`` if it still points to ``expected``.

    Raises:
        StorageError: it points elsewhere by now; nothing was written, and another try can look again.
    """
    if expected is None and session.get(Current, name) is None:
        session.add(Current(name=name, target_id=target))
        session.flush()
        return
    swap = update(Current).where(col(Current.name) == name, col(Current.target_id) == expected)
    if session.exec(swap.values(target_id=target)).rowcount == 0:
        raise StorageError(f"{name} was {expected} and has become {pointed(session, name)} meanwhile; trying again")


def champion(label_set: str) -> str:
    """Return the name under which a label set's champion is kept."""
    return f"champion:{label_set}"


def current_snapshot(label_set: str) -> str:
    """Return the name under which a label set's current snapshot is kept."""
    return f"snapshot:{label_set}"
