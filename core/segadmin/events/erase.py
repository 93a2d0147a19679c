"""Erasing: one user from everywhere, or all events that are older than they may be kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import polars as pl
from sqlmodel import Session, col, select

from segadmin.counts import counted
from segadmin.errors import JobError
from segadmin.events.erase_traces import (
    GOING_ON,
    erase_in_database,
    erase_in_files,
    erase_in_logs,
    erase_in_streams,
    refuse_asked_for,
)
from segadmin.events.erase_waiting import count_waiting, drop_unfinished, erase_waiting
from segadmin.events.erasure_mark import begin, end, users_left, was_interrupted
from segadmin.events.identifiers import plain_id
from segadmin.events.keys import meant_by, show_key
from segadmin.events.named_users import NamedUsers
from segadmin.events.quarantine_users import rows_of_users
from segadmin.events.segment_counts import count_segments
from segadmin.events.similar_ids import similar_ids
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.audit import record
from segadmin.storage.compaction import KEPT_HOURS
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone, no_step_runs
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import keep_old_predictions
from segadmin.storage.records import Import, Job, ModelVersion
from segadmin.storage.schema import SCHEMAS
from segadmin.storage.store import open_store

#: Tables with a row for each user; ``users`` last, since it is what an interrupted erasure finds its users by.
_BY_USER = ("events", "labels", "assignments", "trainings", "predictions", "users")

#: Kinds of jobs that keep nothing of users from one step to the next: they wait for an erasure, and it for their step.
_IN_TURN = ("ingest", "compact", "retain")
_AT_ONCE = 1_000


@dataclass(frozen=True)
class Erased:
    """What was erased of one user."""

    user_key: str  #: the pseudonym
    rows: dict[str, int]  #: table → rows; also of the ``inbox`` and the ``spool``, which wait to be imported
    model_versions: list[int]  #: those that learnt from the user, and still hold what they learnt
    similar: list[str] = field(default_factory=list)  #: other users, who are written almost so and were not erased

    @property
    def is_known(self) -> bool:
        """Whether anything was known of the user."""
        return any(self.rows.values())


def forget(settings: Settings, users: Sequence[str]) -> list[Erased]:
    """Erase users from every table, from what waits to be imported, and from what jobs left behind.

    Nothing of them is left in the files of the store, the database, the logs of Delta Lake and those under ``run``. Of
    users who are not known nothing is touched, and the others are erased all the same. The next run finishes what one
    that was killed began, whomever it is for. What models learnt cannot be taken out of them: the versions are named,
    so that they can be trained anew.

    Args:
        settings: where the store is.
        users: shop's ids, or pseudonyms of 16 hex digits.

    Returns:
        What was erased of each of ``users``, in their order.

    Raises:
        JobError: jobs are going on, which read what is to be erased; or a schedule imports more of a user.
        StorageError: something cannot be read or written. What was not erased is by the next run.
    """
    with transaction(settings) as session:
        _refuse_while_working(session)
    with no_step_runs(settings), alone(settings):  # in the order in which a step takes both
        open_store(settings)
        lake = Lake.of(settings)
        keys, names = _identify(settings, lake, users)
        left = users_left(settings)
        named = NamedUsers(settings.secret(), names | left)
        with transaction(settings) as session:
            _refuse_while_working(session)
            refuse_asked_for(session, named)
        drop_unfinished(settings)
        bad = _in_quarantine(settings, lake, named)
        found = _found(settings, lake, named, bad)
        known = {key: one for key, one in found.items() if one.is_known or key in left}
        if known or was_interrupted(settings):
            begin(settings, {key: named.names[key] for key in known})
            _erase(settings, lake, known, named, bad)
        _record(settings, list(known.values()), len(names.keys() - known.keys()))
        if was_interrupted(settings):
            database.drop_history(settings)
            end(settings)
    return [found[keys[user]] for user in users]


def remove_older(settings: Settings, before: datetime) -> int:
    """Remove the events before that time, and return how many; their files go a week later, for jobs that go on."""
    lake = Lake.of(settings)
    with alone(settings):
        old = lake.scan("events").filter(pl.col("at") < before).select(pl.len()).collect().item()
        if old:
            lake.delete("events", f"at < '{before.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z'")
        lake.vacuum("events", hours=KEPT_HOURS)
    return int(old)


def _record(settings: Settings, erased: Sequence[Erased], unknown: int) -> None:
    """Write down what was done, and of nobody whom it was done to: even a pseudonym would tell that user apart."""
    rows = {table: sum(one.rows[table] for one in erased) for table in (erased[0].rows if erased else ())}
    versions = sorted({version for one in erased for version in one.model_versions})
    record(settings, "data.forget", counted(len(erased), "user"), rows=rows, model_versions=versions, unknown=unknown)


def _refuse_while_working(session: Session) -> None:
    others = (col(Job.state).in_(GOING_ON), col(Job.kind).not_in(_IN_TURN))
    working = session.exec(select(Job.id).where(*others).order_by(col(Job.id))).all()
    if working:
        numbers = ", ".join(str(number) for number in working[:5])
        raise JobError(
            f"Jobs are going on that read users' data ({numbers}). Wait, or: segadmin jobs cancel {working[0]}"
        )


def _identify(settings: Settings, lake: Lake, users: Sequence[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the key of each user, and by key the shop's id; of one whom the lake does not know, as it was given."""
    candidates = {user: meant_by(settings.secret(), user) for user in users}
    all_keys = {key for some in candidates.values() for key in some}
    rows = lake.scan("users").filter(pl.col("user_key").is_in(all_keys)).select("user_key", "user").collect()
    known = dict(rows.iter_rows())
    # Whom nothing but rows in quarantine names is found by the pseudonym, where what was given may be one.
    keys = {user: next((key for key in some if key in known), some[-1]) for user, some in candidates.items()}
    return keys, {key: known.get(key, plain_id(user)) for user, key in keys.items()}


def _in_quarantine(settings: Settings, lake: Lake, users: NamedUsers) -> pl.DataFrame:
    """Return ``import_id``, ``line`` and ``user_key`` of the users' rows in quarantine."""
    with transaction(settings) as session:
        mappings = {number or 0: kept for number, kept in session.exec(select(Import.id, Import.mapping)).all()}
    return rows_of_users(lake.scan("quarantine"), mappings, users)


def _found(settings: Settings, lake: Lake, users: NamedUsers, bad: pl.DataFrame) -> dict[int, Erased]:
    """Return what there is of each user, by key."""
    names = users.names
    waiting = count_waiting(settings, users)
    mine = pl.col("user_key").is_in(list(names))
    rows = {key: dict.fromkeys(("quarantine", *_BY_USER, *waiting), 0) for key in names}
    for table, some in [("quarantine", bad.lazy()), *((table, lake.scan(table).filter(mine)) for table in _BY_USER)]:
        for key, count in some.group_by("user_key").len().collect().iter_rows():
            rows[key][table] = count
    for place, counts in waiting.items():
        for key, count in counts.items():
            rows[key][place] = count
    versions = _versions(settings, lake.scan("trainings").filter(mine).unique().collect())
    similar = similar_ids(lake, list(names.values()))
    return {
        key: Erased(show_key(key), counts, versions.get(key, []), similar.get(names[key], []))
        for key, counts in rows.items()
    }


def _versions(settings: Settings, trainings: pl.DataFrame) -> dict[int, list[int]]:
    """Return the model versions that learnt from each user, by key."""
    with transaction(settings) as session:
        asked = select(ModelVersion.job_id, ModelVersion.id).where(col(ModelVersion.job_id).in_(trainings["job_id"]))
        made = pl.DataFrame(session.exec(asked).all(), {"job_id": pl.Int64, "version": pl.Int64}, orient="row")
    each = trainings.join(made, on="job_id").group_by("user_key").agg(pl.col("version").sort())
    return dict(each.select("user_key", "version").iter_rows())


def _erase(settings: Settings, lake: Lake, found: Mapping[int, Erased], users: NamedUsers, bad: pl.DataFrame) -> None:
    """Erase the users; first from where they are only mentioned, since what knows their ids goes last."""
    known = NamedUsers(users.secret, {key: users.names[key] for key in found})
    for erase in (erase_in_streams, erase_in_database, erase_in_logs, erase_in_files, erase_waiting):
        erase(settings, known)
    with transaction(settings) as session:
        versions = session.exec(select(ModelVersion)).all()
    keep_old_predictions(settings, versions, without=found)
    # Phrases and splits of ended jobs: made again where they are needed, and full of users.
    shutil.rmtree(settings.store_path / "work", ignore_errors=True)
    _erase_rows(lake, found, bad)
    count_segments(settings, lake)
    for table in SCHEMAS:
        lake.drop_history(table)


def _erase_rows(lake: Lake, found: Mapping[int, Erased], bad: pl.DataFrame) -> None:
    """Delete the users' rows, each table in one commit, or a few for many users."""
    for imports in _batched(bad["import_id"].unique().sort()):
        theirs = lake.scan("quarantine").filter(pl.col("import_id").is_in(imports))
        left = theirs.join(bad.lazy(), on=["import_id", "line"], how="anti").collect()
        lake.replace_rows("quarantine", left, f"import_id IN ({_listed(imports)})")
    for table in _BY_USER:
        for keys in _batched(key for key, one in found.items() if one.rows[table]):
            lake.delete(table, f"user_key IN ({_listed(keys)})")


def _batched(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield lists that a predicate may have: Delta's parser crashes the process at many thousands of values."""
    rest = iter(numbers)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)
