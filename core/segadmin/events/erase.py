"""Erasing: one user from everywhere, or all events that are older than they may be kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

import polars as pl
from sqlmodel import Session, col, select

from segadmin.audit import record
from segadmin.database import transaction
from segadmin.errors import JobError, StorageError
from segadmin.events.alone import alone
from segadmin.events.compact import KEPT_HOURS
from segadmin.events.identifiers import plain_id
from segadmin.events.inbox import Inbox
from segadmin.events.keys import meant_by, show_key, user_key
from segadmin.events.lake import Lake
from segadmin.events.quarantine_users import rows_of_users
from segadmin.events.similar_ids import similar_ids
from segadmin.records import Import, Job, JobState, ModelVersion
from segadmin.settings import Settings
from segadmin.store import open_store

#: Tables with a row for each user; ``users`` last, since it is what an interrupted erasure finds its users by.
_BY_USER = ("events", "labels", "assignments", "trainings", "users")

_AT_ONCE = 1_000


@dataclass(frozen=True)
class Erased:
    """What was erased of one user."""

    user_key: str  #: the pseudonym
    rows: dict[str, int]  #: table → rows
    model_versions: list[int]  #: those that learnt from the user, and still hold what they learnt
    similar: list[str] = field(default_factory=list)  #: where nothing was known: users who are written almost so

    @property
    def is_known(self) -> bool:
        """Whether anything was known of the user."""
        return any(self.rows.values())


def forget(settings: Settings, users: Sequence[str]) -> list[Erased]:
    """Erase users from every table, and from what jobs left behind; their files are gone from the disk.

    Of users who are not known nothing is touched, and the others are erased all the same. A second run finishes what a
    first one that was killed began. What models learnt cannot be taken out of them: the versions are named, so that
    they can be trained anew.

    Args:
        settings: where the store is.
        users: shop's ids, or pseudonyms of 16 hex digits.

    Returns:
        What was erased of each of ``users``, in their order.

    Raises:
        JobError: jobs are going on, which read what is to be erased.
        StorageError: an import was interrupted; what it read is on disk and not yet in the lake.
    """
    with alone(settings):
        open_store(settings)
        with transaction(settings) as session:
            _refuse_while_working(session)
        _refuse_while_importing(settings)
        lake = Lake.of(settings)
        keys, names = _identify(settings, lake, users)
        bad = _in_quarantine(settings, lake, names)
        found = _found(settings, lake, names, bad)
        begun = settings.store_path / "erasure"  # what was deleted is on the disk until the end
        if begun.exists() or any(one.is_known for one in found.values()):
            begun.touch()
            _erase(settings, lake, found, bad)
        for one in found.values():
            record(settings, "data.forget", f"user {one.user_key}", rows=one.rows, model_versions=one.model_versions)
        begun.unlink(missing_ok=True)
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


def _refuse_while_working(session: Session) -> None:
    going_on = [state for state in JobState if not state.over]
    working = session.exec(select(Job.id).where(col(Job.state).in_(going_on)).order_by(col(Job.id))).all()
    if working:
        numbers = ", ".join(str(number) for number in working[:5])
        raise JobError(
            f"Jobs are going on that read users' data ({numbers}). Wait, or: segadmin jobs cancel {working[0]}"
        )


def _refuse_while_importing(settings: Settings) -> None:
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


def _identify(settings: Settings, lake: Lake, users: Sequence[str]) -> tuple[dict[str, int], dict[int, str]]:
    """Return the key of each user, and by key the shop's id; of one whom the lake does not know, as it was given."""
    candidates = {user: meant_by(settings.secret(), user) for user in users}
    all_keys = {key for some in candidates.values() for key in some}
    rows = lake.scan("users").filter(pl.col("user_key").is_in(all_keys)).select("user_key", "user").collect()
    known = dict(rows.iter_rows())
    # Whom nothing but rows in quarantine names is found by the pseudonym, where what was given may be one.
    keys = {user: next((key for key in some if key in known), some[-1]) for user, some in candidates.items()}
    return keys, {key: known.get(key, plain_id(user)) for user, key in keys.items()}


def _in_quarantine(settings: Settings, lake: Lake, names: Mapping[int, str]) -> pl.DataFrame:
    """Return ``import_id``, ``line`` and ``user_key`` of the users' rows in quarantine."""
    secret = settings.secret()
    keys = {user_key(secret, name): key for key, name in names.items()} | {key: key for key in names}

    def find(cell: str) -> int | None:
        return next((keys[key] for one in (plain_id(cell), cell) if (key := user_key(secret, one)) in keys), None)

    with transaction(settings) as session:
        mappings = {number or 0: kept for number, kept in session.exec(select(Import.id, Import.mapping)).all()}
    return rows_of_users(lake.scan("quarantine"), mappings, names, find)


def _found(settings: Settings, lake: Lake, names: Mapping[int, str], bad: pl.DataFrame) -> dict[int, Erased]:
    """Return what there is of each user, by key."""
    mine = pl.col("user_key").is_in(list(names))
    rows = {key: dict.fromkeys(("quarantine", *_BY_USER), 0) for key in names}
    for table, some in [("quarantine", bad.lazy()), *((table, lake.scan(table).filter(mine)) for table in _BY_USER)]:
        for key, count in some.group_by("user_key").len().collect().iter_rows():
            rows[key][table] = count
    versions = _versions(settings, lake.scan("trainings").filter(mine).unique().collect())
    similar = similar_ids(lake, [names[key] for key, counts in rows.items() if not any(counts.values())])
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


def _erase(settings: Settings, lake: Lake, found: Mapping[int, Erased], bad: pl.DataFrame) -> None:
    """Delete the users' rows, each table in one commit, or a few for many users; and all files that still hold them."""
    for imports in _batched(bad["import_id"].unique().sort()):
        theirs = lake.scan("quarantine").filter(pl.col("import_id").is_in(imports))
        left = theirs.join(bad.lazy(), on=["import_id", "line"], how="anti").collect()
        lake.replace_rows("quarantine", left, f"import_id IN ({_listed(imports)})")
    for table in _BY_USER:
        for keys in _batched(key for key, one in found.items() if one.rows[table]):
            lake.delete(table, f"user_key IN ({_listed(keys)})")
    for table in (*_BY_USER, "quarantine"):
        lake.vacuum(table, hours=0)
    # Phrases and splits of ended jobs: made again where they are needed, and full of users.
    shutil.rmtree(settings.store_path / "work", ignore_errors=True)


def _batched(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield lists that a predicate may have: Delta's parser crashes the process at many thousands of values."""
    rest = iter(numbers)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)
