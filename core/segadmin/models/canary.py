"""Canaries: a challenger scores a share of the users, until it becomes champion or its users go back.

A canary is a row of SQL, and at most one of a label set is running. Which users it has follows from the share, the
salt and their keys alone, so it is known wherever a user is scored, and no list of them is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, col, select, update

from segadmin.errors import CanaryNotFound, DataError, Stale
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import is_row_number, now, transaction
from segadmin.storage.records import Canary, CanaryState, ModelVersion

if TYPE_CHECKING:
    import polars as pl


class CanaryShare(BaseModel):
    """Which users a canary scores, and by which versions these and the others are scored."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    canary_id: int
    champion_id: int
    challenger_id: int
    share: float  #: of the users, above 0 and below 1
    salt: int

    @classmethod
    def of(cls, canary: Canary) -> CanaryShare:
        """Return the share of a canary."""
        assert canary.id is not None
        return cls(
            canary_id=canary.id,
            champion_id=canary.champion_id,
            challenger_id=canary.challenger_id,
            share=canary.share,
            salt=canary.salt,
        )

    def contains(self, user_keys: pl.Series) -> pl.Series:
        """Return whether the challenger scores each user: the same for a user everywhere, and for about the share."""
        import polars as pl

        from segadmin.labels.split import draw

        return pl.Series("is_canary", draw(user_keys.to_numpy(), self.salt) < self.share, dtype=pl.Boolean)

    def has(self, user_key: int) -> bool:
        """Return whether the challenger scores a user."""
        import polars as pl

        return bool(self.contains(pl.Series([user_key], dtype=pl.Int64))[0])

    def versions(self, user_keys: pl.Series) -> pl.Series:
        """Return the number of the model version that scores each user."""
        import polars as pl

        numbers = self.contains(user_keys).replace_strict(
            {True: self.challenger_id, False: self.champion_id}, return_dtype=pl.Int64
        )
        return numbers.alias("model_version_id")


def running_canary(session: Session, label_set: str) -> Canary | None:
    """Return the canary of a label set that is running, if any."""
    running = select(Canary).where(Canary.label_set == label_set, Canary.state == CanaryState.RUNNING)
    return session.exec(running).first()


def list_canaries(
    session: Session,
    label_set: str | None = None,
    *,
    state: CanaryState | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> Sequence[Canary]:
    """Return canaries, newest first: of ``label_set``, in ``state``, older than ``before``, at most ``limit``."""
    query = select(Canary).order_by(col(Canary.id).desc()).limit(limit)
    if label_set is not None:
        query = query.where(Canary.label_set == label_set)
    if state is not None:
        query = query.where(Canary.state == state)
    if before is not None:
        query = query.where(col(Canary.id) < before)
    return session.exec(query).all()


def start_canary(
    session: Session, challenger: ModelVersion, champion_id: int, share: float, *, since: datetime, until: datetime
) -> Canary:
    """Let ``challenger`` score a share of the users; a canary that is running is stopped."""
    assert challenger.id is not None
    earlier = running_canary(session, challenger.label_set)
    if earlier is not None:
        end_canary(session, earlier, CanaryState.STOPPED, f"version {challenger.id} became the canary")
    canary = Canary(
        label_set=challenger.label_set,
        champion_id=champion_id,
        challenger_id=challenger.id,
        share=share,
        salt=secrets.randbelow(2**31),
        since=since,
        until=until,
        created_at=now(session),
    )
    session.add(canary)
    session.flush()
    facts = {"champion": champion_id, "share": share, "until": until.isoformat()}
    session.add(entry("models.canary.start", f"model {challenger.id}", **facts))
    return canary


def end_canary(session: Session, canary: Canary, state: CanaryState, reason: str, **details: Any) -> bool:
    """End a canary that is running; return whether it was still running. The champion stays as it is.

    Args:
        session: of the transaction.
        canary: to be ended.
        state: how it ended.
        reason: is stored, and in the audit log.
        details: further values for the audit log.
    """
    running = update(Canary).where(col(Canary.id) == canary.id, col(Canary.state) == CanaryState.RUNNING)
    if session.exec(running.values(state=state, reason=reason, ended_at=now(session))).rowcount == 0:
        return False
    session.expire(canary)
    ended = "promote" if state == CanaryState.PROMOTED else "stop"
    facts = {"canary": canary.id, "reason": reason, **details}
    session.add(entry(f"models.canary.{ended}", f"model {canary.challenger_id}", **facts))
    return True


def end_with_champion(session: Session, label_set: str, champion_id: int) -> CanaryState | None:
    """End the canary of a label set, because ``champion_id`` became champion; return how, if one was running."""
    canary = running_canary(session, label_set)
    if canary is None:
        return None
    won = canary.challenger_id == champion_id
    state = CanaryState.PROMOTED if won else CanaryState.STOPPED
    end_canary(session, canary, state, f"version {champion_id} became champion")
    return state


def find_running(session: Session, label_set: str | None = None) -> Canary:
    """Return the running canary of ``label_set``, by default the only one.

    Raises:
        DataError: none is running, or several are and none was named.
    """
    return the_running(list_canaries(session, label_set, state=CanaryState.RUNNING), label_set)


def the_running(running: Sequence[Canary], label_set: str | None) -> Canary:
    """Return the only one of the canaries that run; ``label_set`` is what was asked for.

    Raises:
        DataError: none is running, or several are and none was named.
    """
    if not running:
        of_labels = f" of {label_set!r}" if label_set is not None else ""
        raise DataError(f"No canary{of_labels} is running. Start one: segadmin enqueue retrain --canary 5%")
    if len(running) > 1:
        raise DataError(f"Which canary? Add --labels; there are: {', '.join(row.label_set for row in running)}.")
    return running[0]


def find_canary(session: Session, number: int) -> Canary:
    """Return a canary.

    Raises:
        CanaryNotFound: there is none of that number.
    """
    canary = session.get(Canary, number) if is_row_number(number) else None
    if canary is None:
        raise CanaryNotFound(f"There is no canary {number}. See: segadmin models canary list")
    return canary


def stop_canary(
    settings: Settings, label_set: str | None = None, reason: str = "", *, number: int | None = None
) -> Canary:
    """Stop a canary: from the next refresh on, the champion scores its users again.

    Args:
        settings: location of the database.
        label_set: whose canary; needed only if several have one.
        reason: is stored, and in the audit log.
        number: of the canary, in place of ``label_set``.

    Raises:
        DataError: none is running, or several are and none was named.
        CanaryNotFound: there is none of that number.
        Stale: it ended meanwhile.
    """
    with transaction(settings) as session:
        canary = find_running(session, label_set) if number is None else find_canary(session, number)
        if not end_canary(session, canary, CanaryState.STOPPED, reason or "stopped by hand"):
            session.refresh(canary)
            why = f": {canary.reason}" if canary.reason else ""
            raise Stale(
                f"The canary {canary.id} of {canary.label_set!r} is {canary.state.value} already{why}. See: segadmin "
                "models canary list"
            )
        session.refresh(canary)
        return canary
