"""Adoption: registering an existing store folder with a database, after one of the two was restored or lost."""

from __future__ import annotations

import shutil
import uuid

import polars as pl
from sqlmodel import Session, select

from segadmin.counts import counted
from segadmin.errors import ConfigurationError, StoreMissing
from segadmin.events.keys import user_key
from segadmin.events.merged_users import MergedUsers
from segadmin.hashing import bucket_of
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin.storage.delta_tables import open_table
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Lake
from segadmin.storage.mark import MARK, Mark, has_tables, read_mark
from segadmin.storage.records import ImportState, MergeState, Store, UserMerge
from segadmin.storage.store import fingerprint, missing_imports, one_at_a_time, put_mark

#: Data that refers to records of the lost database. A new database numbers jobs, snapshots and imports from 1 again, so
#: the numbers in this data would refer to the wrong records.
_OF_OLD_DATABASE = ("lake/assignments", "lake/predictions", "lake/trainings", "lake/quarantine", "work", "spool")
#: Number of users whose keys are compared with the secret.
_CHECKED_USERS = 100
_LOST_IMPORT = "The store was restored from a backup that was made before this import."


def adopt_store(settings: Settings) -> Store:
    """Register the store in the folder with the database, and return its record.

    With a new database, events, items, labels and users are kept; results of jobs and the quarantine are removed. The
    store gets a new id, so that the old database no longer accepts the folder. A database that already has the store
    writes its id into the folder again. If the folder is an older backup, later imports are set to failed, so that
    their files can be imported again.

    Raises:
        StoreMissing: there is no store in the folder.
        ConfigurationError: the secret or the number of buckets differs from the store's, or the database has another
            store.
        StorageError: the folder cannot be read or written.
    """
    if read_mark(settings) is None and not has_tables(settings):
        raise StoreMissing(f"There is no store in {settings.store_path}. Set SEGADMIN_STORE to its folder.")
    with alone(settings, registered=False):  # an import of the other database may be running
        return _adopt(settings)


def _adopt(settings: Settings) -> Store:
    mark = read_mark(settings)
    buckets = _check_users(settings, mark)
    if database.revision(settings) is None:
        database.upgrade(settings, adopting=True)
    with transaction(settings) as session:
        one_at_a_time(session)
        store = session.get(Store, 1)
        is_new = store is None
        if store is None:
            store = Store(buckets=buckets, key_fingerprint=fingerprint(settings.secret()), store_id=uuid.uuid4().hex)
            _remove_unusable(settings)
        elif store.store_id is None:
            store.store_id = mark.id if mark is not None else uuid.uuid4().hex
        elif mark is not None and store.store_id != mark.id:
            raise ConfigurationError(
                f"{settings.store_path} is another store than that of the database. Set SEGADMIN_STORE to the folder "
                "of that, or SEGADMIN_DATABASE_URL to a new database."
            )
        session.add(store)
        lost_imports = missing_imports(session, mark) if not is_new else []
        for lost_import in lost_imports:
            lost_import.state, lost_import.error, lost_import.rows_kept = ImportState.FAILED, _LOST_IMPORT, 0
            session.add(lost_import)
        _compare_merges(session, settings)
    put_mark(settings, store)
    record(settings, "store.adopt", f"store {store.store_id}", new_database=is_new, lost_imports=len(lost_imports))
    return store


def _compare_merges(session: Session, settings: Settings) -> None:
    """Record the merges of users that only the store has; begin those again that only the database has."""
    merged = MergedUsers.of(Lake(settings.store_path / "lake"))
    recorded = session.exec(select(UserMerge).where(UserMerge.state == MergeState.MERGED)).all()
    for merge in recorded:
        if merge.old_key not in merged.into:
            merge.state = MergeState.MERGING
            session.add(merge)
    for old in merged.into.keys() - {merge.old_key for merge in recorded}:
        session.add(UserMerge(old_key=old, new_key=merged.into[old], state=MergeState.MERGED))


def _remove_unusable(settings: Settings) -> None:
    for name in _OF_OLD_DATABASE:
        shutil.rmtree(settings.store_path / name, ignore_errors=True)
    (settings.store_path / MARK).unlink(missing_ok=True)


def _check_users(settings: Settings, mark: Mark | None) -> int:
    """Return the number of buckets, after checking that the keys of the stored users belong to the secret.

    Raises:
        ConfigurationError: they do not, or the settings have another number of buckets.
    """
    secret = settings.secret()
    users = _users(settings)
    sample = users.head(_CHECKED_USERS)
    keys = [user_key(secret, user) for user in sample["user"]]
    if keys != sample["user_key"].to_list() or (mark and mark.key_fingerprint != fingerprint(secret)):
        raise ConfigurationError(
            f"The users in {settings.store_path} were stored with another user-key secret. Restore "
            "SEGADMIN_USER_KEY_SECRET or home/user_key_secret."
        )
    chosen = "buckets" in settings.model_fields_set
    buckets = settings.buckets if chosen or mark is None else mark.buckets
    fit = mark is None or mark.buckets == buckets
    if not fit or users.filter(pl.col("bucket") != bucket_of(pl.col("user_key"), buckets)).height:
        hint = f"={mark.buckets}" if mark else " to the number that it was made with"
        raise ConfigurationError(
            f"The users in {settings.store_path} are not in {counted(buckets, 'bucket')}. Set SEGADMIN_BUCKETS{hint}."
        )
    return buckets


def _users(settings: Settings) -> pl.DataFrame:
    folder = settings.store_path / "lake" / "users"
    schema = {"user": pl.String, "user_key": pl.Int64, "bucket": pl.Int32}
    if not (folder / "_delta_log").is_dir():
        return pl.DataFrame(schema=schema)
    columns = [pl.col(name).cast(dtype) for name, dtype in schema.items()]
    return pl.scan_delta(open_table(folder)).select(columns).collect()
