"""The records of imports: one, and pages of them."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, false, func, not_
from sqlmodel import col, or_, select

from segadmin.errors import DataError, ImportNotFound, did_you_mean
from segadmin.events.interrupted import INTERRUPTED
from segadmin.settings import Settings
from segadmin.storage.database import is_row_number, reading
from segadmin.storage.import_lock import is_importing
from segadmin.storage.records import Import, ImportState

#: The states by which imports are listed; ``interrupted`` is not stored, see ``interrupted.state_of``.
STATES = ("running", "succeeded", "failed", "interrupted")


def find_import(settings: Settings, number: int) -> Import:
    """Return an import.

    Raises:
        ImportNotFound: there is none of this number.
    """
    with reading(settings) as session:
        row = session.get(Import, number) if is_row_number(number) else None
    if row is None:
        raise ImportNotFound(f"There is no import {number}. See: segadmin data list")
    return row


def list_imports(
    settings: Settings, limit: int, *, state: str | None = None, before: int | None = None
) -> list[Import]:
    """Return the newest imports first.

    Args:
        settings: location of the database.
        limit: at most so many.
        state: only those in this state.
        before: only those older than the one of this number.

    Raises:
        DataError: there is no such state.
    """
    query = select(Import).order_by(col(Import.id).desc()).limit(limit)
    if state is not None:
        query = query.where(_is_in(state, importing=is_importing(settings)))
    if before is not None:
        query = query.where(col(Import.id) < before)
    with reading(settings) as session:
        return list(session.exec(query).all())


def _is_in(state: str, *, importing: bool) -> ColumnElement[bool]:
    is_running, stopped = col(Import.state) == ImportState.RUNNING, col(Import.error) == INTERRUPTED
    if state == "running":
        return is_running if importing else false()
    if state == "interrupted":
        return or_(stopped, is_running) if not importing else stopped
    if state == "failed":
        return and_(col(Import.state) == ImportState.FAILED, not_(func.coalesce(stopped, false())))
    if state == "succeeded":
        return col(Import.state) == ImportState.SUCCEEDED
    raise DataError(f"There is no state {state!r} of an import.{did_you_mean(state, STATES)}")
