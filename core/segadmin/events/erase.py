"""Erasure: of single users from all storage, or of all events older than the retention period."""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import polars as pl
from sqlmodel import col, select

from segadmin.counts import counted
from segadmin.errors import JobError
from segadmin.events.erase_database import (
    GOING_ON,
    count_corrections,
    erase_in_database,
    refuse_asked_for,
    refuse_uploads,
)
from segadmin.events.erase_files import erase_in_files, erase_in_logs
from segadmin.events.erase_streams import erase_in_streams
from segadmin.events.erase_waiting import count_waiting, drop_unfinished, erase_waiting
from segadmin.events.erasure_mark import begin, end, users_left, was_interrupted
from segadmin.events.identifiers import plain_id
from segadmin.events.keys import candidate_keys, show_key
from segadmin.events.merge import complete_merges
from segadmin.events.merged_users import MergedUsers
from segadmin.events.named_users import NamedUsers
from segadmin.events.quarantine_users import rows_of_users
from segadmin.events.segment_counts import count_segments
from segadmin.events.similar_ids import similar_ids
from segadmin.events.uploads import drop_all
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.audit import record
from segadmin.storage.compaction import KEPT_HOURS
from segadmin.storage.database import reading, transaction
from segadmin.storage.import_lock import alone, no_step_runs
from segadmin.storage.lake import Lake
from segadmin.storage.predictions import keep_old_predictions
from segadmin.storage.records import Import, Job, ModelVersion, Step, StepState
from segadmin.storage.schema import SCHEMAS
from segadmin.storage.store import check_store, open_store

log = logging.getLogger(__name__)
#: Tables with rows of users; those with their ids last, by which an interrupted erasure finds them.
_BY_USER = (
    *("events", "event_duplicates", "labels", "label_duplicates"),
    *("assignments", "trainings", "predictions", "changes", "merged_users", "users"),
)

#: Kinds of jobs that keep no user data between steps: an erasure only waits for their current step.
_WITHOUT_USER_DATA = ("ingest", "import-upload", "compact", "retain", "deliver", "profile")
#: Kinds of jobs that may take hours, so an erasure is refused at once while one runs; others it waits for.
_LONG = ("retrain", "tune", "pretrain")
_PATIENCE_SECONDS, _LOOK_SECONDS = 120.0, 0.1
_BATCH_SIZE = 1_000


@dataclass(frozen=True)
class Erased:
    """The data that was erased for one user."""

    user_key: str  #: the pseudonym
    #: Table → rows; also for ``inbox`` and ``spool``, which hold rows to be imported, and for ``corrections``.
    rows: dict[str, int]
    model_versions: list[int]  #: versions trained on the user's data, which were not changed
    similar: list[str] = field(default_factory=list)  #: other users with similar ids, who were not erased
    merged: list[str] = field(default_factory=list)  #: pseudonyms of users who were merged with this one: erased too

    @property
    def is_known(self) -> bool:
        """Whether there was any data about the user."""
        return any(self.rows.values())


def forget(
    settings: Settings, users: Sequence[str], *, waiting: Callable[[str], None] = lambda _: None
) -> list[Erased]:
    """Erase users from all tables, from data to be imported, and from the files of jobs.

    No trace of them is left in the files of the store, in the database, in the logs of Delta Lake, or in the logs under
    ``run``. Unknown users are skipped; the other users are erased nevertheless. If an erasure is killed, the next one
    completes it, for whichever users. Trained models cannot be changed: the result lists the versions that were trained
    on the users' data, so that they can be replaced. Users who were merged are one person: whichever of their ids is
    given, all are erased, and the counts are those of all.

    Args:
        settings: location of the store.
        users: the shop's ids, or pseudonyms of 16 hex digits.
        waiting: called with what the erasure waits for, if it has to wait for a job.

    Returns:
        What was erased for each of ``users``, in their order.

    Raises:
        JobError: running jobs read the data to be erased, or a schedule imports more data of a user.
        StorageError: something cannot be read or written. The next erasure completes this one.
    """
    with _between_jobs(settings, waiting):
        buckets = open_store(settings).buckets
        lake = Lake.of(settings)
        complete_merges(settings, lake, buckets)
        merged = MergedUsers.of(lake)
        keys, names = _identify(settings, lake, users, merged)
        interrupted = users_left(settings)
        named_users = NamedUsers(settings.secret(), names | interrupted)
        with transaction(settings) as session:
            refuse_asked_for(session, named_users)
            refuse_uploads(session)
        drop_unfinished(settings)
        drop_all(settings)  # whom an uploaded file names is known only once it is imported
        bad = _in_quarantine(settings, lake, named_users)
        erased_by_key = _find_data(settings, lake, named_users, bad)
        known_users = {key: erased for key, erased in erased_by_key.items() if erased.is_known or key in interrupted}
        if known_users or was_interrupted(settings):
            begin(settings, {key: named_users.names[key] for key in known_users})
            _erase(settings, lake, known_users, named_users, bad)
        _record(settings, list(known_users.values()), len(names.keys() - known_users.keys()))
        if was_interrupted(settings):
            database.drop_history(settings)
            end(settings)
    return [_of_person([erased_by_key[key] for key in merged.group(keys[user])], keys[user]) for user in users]


def plan_erasure(settings: Settings, users: Sequence[str]) -> list[Erased]:
    """Return what :func:`forget` would erase for each of ``users``, without erasing or writing anything.

    Raises:
        DataError: an id cannot be one.
        StorageError: something cannot be read.
    """
    check_store(settings)
    lake = Lake.of(settings)
    merged = MergedUsers.of(lake)
    keys, names = _identify(settings, lake, users, merged)
    named_users = NamedUsers(settings.secret(), names)
    found = _find_data(settings, lake, named_users, _in_quarantine(settings, lake, named_users))
    return [_of_person([found[key] for key in merged.group(keys[user])], keys[user]) for user in users]


def remove_older(settings: Settings, before: datetime) -> int:
    """Delete the events before a time and return their number; files are removed a week later, for running jobs."""
    lake = Lake.of(settings)
    with alone(settings):
        count = lake.scan("events").filter(pl.col("at") < before).select(pl.len()).collect().item()
        if count:
            for table in ("events", "event_duplicates"):
                lake.delete(table, f"at < '{before.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z'")
        lake.vacuum("events", hours=KEPT_HOURS)
    return int(count)


def _record(settings: Settings, erased: Sequence[Erased], unknown: int) -> None:
    """Write an audit entry without users: even a pseudonym would identify an erased user."""
    rows = {table: sum(user.rows[table] for user in erased) for table in (erased[0].rows if erased else ())}
    versions = sorted({version for user in erased for version in user.model_versions})
    record(settings, "data.forget", counted(len(erased), "user"), rows=rows, model_versions=versions, unknown=unknown)
    facts = {"users": len(erased), "unknown": unknown, "rows": sum(rows.values()), "versions": len(versions)}
    log.info("users erased", extra={"action": "forget", **facts})


@contextmanager
def _between_jobs(settings: Settings, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the locks of the store at a moment at which no job keeps users' data between its steps.

    Refreshes of live segments follow each other without end, so the end of one is waited for, and so is that of other
    jobs that take minutes.

    Raises:
        JobError: there is no such moment within two minutes, or a job runs that trains a model, which may take long.
    """
    deadline, announced = time.monotonic() + _PATIENCE_SECONDS, set[int]()
    while True:
        with ExitStack() as stack:
            if not (jobs := _with_user_data(settings)):
                stack.enter_context(no_step_runs(settings))  # in the order in which steps take both
                stack.enter_context(alone(settings))
                if not (jobs := _with_user_data(settings)):  # a step that was claimed waits, and has read nothing
                    yield
                    return
        first = jobs[0].id or 0
        if time.monotonic() > deadline or any(job.kind in _LONG for job in jobs):
            numbers = ", ".join(str(job.id) for job in jobs[:5])
            raise JobError(f"Running jobs read users' data ({numbers}). Wait, or: segadmin jobs cancel {first}")
        if first not in announced:
            waiting(f"Waiting for job {first} ({jobs[0].kind}) to end.")
            announced.add(first)
        time.sleep(_LOOK_SECONDS)


def _with_user_data(settings: Settings) -> Sequence[Job]:
    """Return the jobs that keep data of users between their steps; a job has none before its first step ended."""
    has_ended = select(Step.id).where(Step.job_id == Job.id, Step.state == StepState.SUCCEEDED)
    filters = (
        col(Job.state).in_(GOING_ON),
        col(Job.kind).not_in(_WITHOUT_USER_DATA),
        has_ended.exists(),
    )
    with reading(settings) as session:
        return session.exec(select(Job).where(*filters).order_by(col(Job.id))).all()


def _of_person(erased: Sequence[Erased], key: int) -> Erased:
    """Return what was erased for all users who are one person, of whom ``key`` was asked for."""
    if len(erased) == 1:
        return erased[0]
    rows = sum((Counter(user.rows) for user in erased), Counter[str]())
    asked = show_key(key)
    return Erased(
        asked,
        {table: rows[table] for table in erased[0].rows},
        sorted({version for user in erased for version in user.model_versions}),
        sorted({name for user in erased for name in user.similar}),
        sorted(user.user_key for user in erased if user.user_key != asked),
    )


def _identify(
    settings: Settings, lake: Lake, users: Sequence[str], merged: MergedUsers
) -> tuple[dict[str, int], dict[int, str]]:
    """Return the key of each user, and key → the shop's id, also of users who were merged with one of them.

    For unknown users it is the id as it was given.
    """
    candidates = {user: candidate_keys(settings.secret(), user) for user in users}
    all_keys = {key for user_keys in candidates.values() for key in user_keys}
    all_keys |= {other for key in all_keys for other in merged.group(key)}
    tables = pl.concat([lake.scan(table).select("user_key", "user") for table in ("users", "merged_users")])
    known_ids = dict(tables.filter(pl.col("user_key").is_in(all_keys)).collect().iter_rows())
    # A user who is only in quarantine is found by the last candidate, the pseudonym if the id has its form.
    keys = {
        user: next((key for key in user_keys if key in known_ids), user_keys[-1])
        for user, user_keys in candidates.items()
    }
    others = {key: known_ids[key] for key in all_keys if key in known_ids and merged.group(key) & set(keys.values())}
    return keys, others | {key: known_ids.get(key, plain_id(user)) for user, key in keys.items()}


def _in_quarantine(settings: Settings, lake: Lake, users: NamedUsers) -> pl.DataFrame:
    """Return ``import_id``, ``line`` and ``user_key`` of the users' rows in quarantine."""
    with transaction(settings) as session:
        mappings = {number or 0: mapping for number, mapping in session.exec(select(Import.id, Import.mapping)).all()}
    return rows_of_users(lake.scan("quarantine"), mappings, users)


def _find_data(settings: Settings, lake: Lake, users: NamedUsers, bad: pl.DataFrame) -> dict[int, Erased]:
    """Return the data about each user, by key."""
    names = users.names
    waiting = {**count_waiting(settings, users), "corrections": count_corrections(settings, users)}
    is_listed = pl.col("user_key").is_in(list(names))
    rows = {key: dict.fromkeys(("quarantine", *_BY_USER, *waiting), 0) for key in names}
    frames = {"quarantine": bad.lazy()} | {table: lake.scan(table).filter(is_listed) for table in _BY_USER}
    for table, frame in frames.items():
        for key, count in frame.group_by("user_key").len().collect().iter_rows():
            rows[key][table] = count
    for place, counts in waiting.items():
        for key, count in counts.items():
            rows[key][place] = count
    versions = _versions(settings, lake.scan("trainings").filter(is_listed).unique().collect())
    similar = similar_ids(lake, list(names.values()))
    return {
        key: Erased(show_key(key), counts, versions.get(key, []), similar.get(names[key], []))
        for key, counts in rows.items()
    }


def _versions(settings: Settings, trainings: pl.DataFrame) -> dict[int, list[int]]:
    """Return the model versions that were trained on each user's data, by key."""
    with transaction(settings) as session:
        query = select(ModelVersion.job_id, ModelVersion.id).where(col(ModelVersion.job_id).in_(trainings["job_id"]))
        versions = pl.DataFrame(session.exec(query).all(), {"job_id": pl.Int64, "version": pl.Int64}, orient="row")
    by_user = trainings.join(versions, on="job_id").group_by("user_key").agg(pl.col("version").sort())
    return dict(by_user.select("user_key", "version").iter_rows())


def _erase(
    settings: Settings, lake: Lake, erased_by_key: Mapping[int, Erased], users: NamedUsers, bad: pl.DataFrame
) -> None:
    """Erase the users: first from places that mention them, last from the tables that contain their ids."""
    named_users = NamedUsers(users.secret, {key: users.names[key] for key in erased_by_key})
    for erase in (erase_in_streams, erase_in_database, erase_in_logs, erase_in_files, erase_waiting):
        erase(settings, named_users)
    with transaction(settings) as session:
        versions = session.exec(select(ModelVersion)).all()
    keep_old_predictions(settings, versions, without=erased_by_key)
    # Phrases and splits of ended jobs contain users and can be regenerated.
    shutil.rmtree(settings.store_path / "work", ignore_errors=True)
    _erase_rows(lake, erased_by_key, bad)
    count_segments(settings, lake)
    for table in SCHEMAS:
        lake.drop_history(table)


def _erase_rows(lake: Lake, erased_by_key: Mapping[int, Erased], bad: pl.DataFrame) -> None:
    """Delete the users' rows, each table in one commit, or a few for many users."""
    for imports in _batched(bad["import_id"].unique().sort()):
        affected = lake.scan("quarantine").filter(pl.col("import_id").is_in(imports))
        remaining = affected.join(bad.lazy(), on=["import_id", "line"], how="anti").collect()
        lake.replace_rows("quarantine", remaining, f"import_id IN ({_sql_list(imports)})")
    for table in _BY_USER:
        for keys in _batched(key for key, erased in erased_by_key.items() if erased.rows[table]):
            lake.delete(table, f"user_key IN ({_sql_list(keys)})")


def _batched(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield lists short enough for a predicate: Delta's parser crashes the process at many thousands of values."""
    remaining = iter(numbers)
    while batch := list(islice(remaining, _BATCH_SIZE)):
        yield batch


def _sql_list(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)
