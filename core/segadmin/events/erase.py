"""Erasing: one user from everywhere, or all events that are older than they may be kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
from sqlmodel import Session, col, select

from segadmin.audit import record
from segadmin.database import transaction
from segadmin.errors import JobError, StorageError
from segadmin.events.alone import alone
from segadmin.events.compact import KEPT_HOURS
from segadmin.events.identifiers import plain_id
from segadmin.events.inbox import Inbox
from segadmin.events.keys import meant_by, open_store, show_key
from segadmin.events.lake import Lake
from segadmin.records import Job, JobState, ModelVersion
from segadmin.settings import Settings

#: Tables with a row for each user; ``users`` last, since it is what an interrupted erasure finds its users by.
_BY_USER = ("events", "labels", "assignments", "trainings", "users")


@dataclass(frozen=True)
class Erased:
    """What was erased of one user."""

    user_key: str  #: the pseudonym
    rows: dict[str, int]  #: table → rows
    model_versions: list[int]  #: those that learnt from the user, and still hold what they learnt


def forget(settings: Settings, users: Sequence[str]) -> list[Erased]:
    """Erase users from every table, and from what jobs left behind; their files are gone from the disk.

    A second run finds what a first one that was killed left. What models learnt cannot be taken out of them: the
    versions are named, so that they can be trained anew.

    Args:
        settings: where the store is.
        users: shop's ids, or pseudonyms of 16 hex digits.

    Raises:
        JobError: jobs are going on, which read what is to be erased.
        StorageError: an import was interrupted; what it read is on disk and not yet in the lake.
    """
    with alone(settings):
        open_store(settings)
        with transaction(settings) as session:
            _refuse_while_working(session)
        spool = settings.store_path / "spool"
        if spool.is_dir() and any(spool.iterdir()):
            raise StorageError(
                f"An import was interrupted, and what it read is in {spool}. Repeat it, or remove that folder, and "
                "then: segadmin data forget"
            )
        if Inbox.of(settings).batches():
            raise StorageError(
                "Posted events wait to be imported. Let them: segadmin enqueue ingest inbox:// --wait, and then: "
                "segadmin data forget"
            )
        lake = Lake.of(settings)
        erased = [_forget(settings, lake, user) for user in users]
        for one in erased:
            record(settings, "data.forget", f"user {one.user_key}", rows=one.rows, model_versions=one.model_versions)
        for table in (*_BY_USER, "quarantine"):
            lake.vacuum(table, hours=0)
        # Phrases and splits of ended jobs: made again where they are needed, and full of users.
        shutil.rmtree(settings.store_path / "work", ignore_errors=True)
    return erased


def remove_older(settings: Settings, before: datetime) -> int:
    """Remove the events before that time, and return how many; their files go a week later, for jobs that go on."""
    lake = Lake.of(settings)
    with alone(settings):
        old = lake.scan("events").filter(pl.col("at") < before).select(pl.len()).collect().item()
        if old:
            lake.delete("events", f"at < '{before.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z'")
        lake.vacuum("events", hours=KEPT_HOURS)
    return int(old)


def _refuse_while_working(session: Session) -> None:
    going_on = [state for state in JobState if not state.over]
    working = session.exec(select(Job.id).where(col(Job.state).in_(going_on)).order_by(col(Job.id))).all()
    if working:
        numbers = ", ".join(str(number) for number in working[:5])
        raise JobError(
            f"Jobs are going on that read users' data ({numbers}). Wait, or: segadmin jobs cancel {working[0]}"
        )


def _forget(settings: Settings, lake: Lake, user: str) -> Erased:
    key, raw = _identify(settings, lake, user)
    mine = pl.col("user_key") == key
    jobs = lake.scan("trainings").filter(mine).select(pl.col("job_id").unique()).collect()["job_id"].to_list()
    with transaction(settings) as session:
        trained = session.exec(select(ModelVersion.id).where(col(ModelVersion.job_id).in_(jobs))).all()
    rows = {"quarantine": _from_quarantine(lake, raw)}
    for table in _BY_USER:
        rows[table] = lake.scan(table).filter(mine).select(pl.len()).collect().item()
        if rows[table]:
            lake.delete(table, f"user_key = {key}")
    return Erased(show_key(key), rows, sorted(number for number in trained if number is not None))


def _identify(settings: Settings, lake: Lake, user: str) -> tuple[int, str]:
    """Return the key and the shop's id of a user; of one whom the lake does not know, as if an id was given."""
    candidates = meant_by(settings.secret(), user)
    users = lake.scan("users").filter(pl.col("user_key").is_in(candidates)).select("user_key", "user").collect()
    known = dict(users.iter_rows())
    key = next((one for one in candidates if one in known), candidates[0])
    return key, known.get(key, plain_id(user))


def _from_quarantine(lake: Lake, raw: str) -> int:
    """Delete the rows in which some cell is, or holds, the user's id."""
    row = pl.col("row")
    near = row.str.contains(raw, literal=True) | row.str.contains(json.dumps(raw)[1:-1], literal=True)
    found = lake.scan("quarantine").filter(near).select("import_id", "line", "row").collect()
    mine = [one for one in found.to_dicts() if _names(one["row"], raw)]
    for one in mine:
        lake.delete("quarantine", f"import_id = {one['import_id']} AND line = {one['line']}")
    return len(mine)


def _names(row: str, raw: str) -> bool:
    try:
        cells = json.loads(row).values()
    except (ValueError, AttributeError):
        return raw in row
    # A row that could not be read is one cell with all of it.
    return any(
        plain_id(str(cell)) == raw or (isinstance(cell, str) and raw in cell) for cell in cells if cell is not None
    )
