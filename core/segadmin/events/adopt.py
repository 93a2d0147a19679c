"""Letting a database know a store that it does not know, after one of the two was restored or lost."""

from __future__ import annotations

import shutil
import uuid

import polars as pl

from segadmin.errors import ConfigurationError, StoreMissing
from segadmin.events.keys import user_key
from segadmin.settings import Settings
from segadmin.storage.audit import record
from segadmin.storage.database import transaction
from segadmin.storage.delta_tables import open_table
from segadmin.storage.import_lock import alone
from segadmin.storage.records import ImportState, Store
from segadmin.storage.store import (
    MARK,
    Mark,
    fingerprint,
    has_tables,
    missing_imports,
    one_at_a_time,
    put_mark,
    read_mark,
)

#: What only the database that is lost can explain: a new one counts jobs, snapshots and imports from 1 again, and would
#: take these for its own.
_OF_THE_LOST = ("lake/assignments", "lake/predictions", "lake/trainings", "lake/quarantine", "work", "spool")
#: So many users are looked at to see whether the secret is theirs.
_LOOKED_AT = 100
_LOST = "The store was restored from a backup that was made before this import."


def adopt_store(settings: Settings) -> Store:
    """Let the database know the store in the folder, and return its facts.

    A new database keeps the events, items, labels and users that it finds. What jobs made of them, and the quarantine,
    are removed. The store gets a new id, so that the other database, should it still be used, no longer takes it for
    its own. A database that knows the store writes its id into the folder again, and where the folder is an older
    backup, its later imports become failed ones, so that their files can be imported again.

    Raises:
        StoreMissing: there is no store in the folder.
        ConfigurationError: the secret or the number of buckets is not the store's, or the database has another store.
        StorageError: the folder cannot be read or written.
    """
    if read_mark(settings) is None and not has_tables(settings):
        raise StoreMissing(f"There is no store in {settings.store_path}. Set SEGADMIN_STORE to its folder.")
    with alone(settings, known=False):  # an import of the other database may be going on
        return _adopt(settings)


def _adopt(settings: Settings) -> Store:
    mark = read_mark(settings)
    buckets = _check_users(settings, mark)
    with transaction(settings) as session:
        one_at_a_time(session)
        store = session.get(Store, 1)
        is_new = store is None
        if store is None:
            store = Store(buckets=buckets, key_fingerprint=fingerprint(settings.secret()), store_id=uuid.uuid4().hex)
            _remove_unexplained(settings)
        elif store.store_id is None:
            store.store_id = mark.id if mark is not None else uuid.uuid4().hex
        elif mark is not None and store.store_id != mark.id:
            raise ConfigurationError(
                f"{settings.store_path} is another store than that of the database. Set SEGADMIN_STORE to the folder "
                "of that, or SEGADMIN_DATABASE_URL to a new database."
            )
        session.add(store)
        lost = missing_imports(session, mark) if not is_new else []
        for one in lost:
            one.state, one.error, one.rows_kept = ImportState.FAILED, _LOST, 0
            session.add(one)
    put_mark(settings, store)
    record(settings, "store.adopt", f"store {store.store_id}", new_database=is_new, lost_imports=len(lost))
    return store


def _remove_unexplained(settings: Settings) -> None:
    for name in _OF_THE_LOST:
        shutil.rmtree(settings.store_path / name, ignore_errors=True)
    (settings.store_path / MARK).unlink(missing_ok=True)


def _check_users(settings: Settings, mark: Mark | None) -> int:
    """Return the number of buckets, after seeing that the secret made the keys of the users that are there.

    Raises:
        ConfigurationError: it did not, or the settings have another number of buckets.
    """
    secret = settings.secret()
    users = _users(settings)
    looked_at = users.head(_LOOKED_AT)
    keys = [user_key(secret, user) for user in looked_at["user"]]
    if keys != looked_at["user_key"].to_list() or (mark and mark.key_fingerprint != fingerprint(secret)):
        raise ConfigurationError(
            f"The users in {settings.store_path} were stored with another user-key secret. Restore "
            "SEGADMIN_USER_KEY_SECRET or home/user_key_secret."
        )
    chosen = "buckets" in settings.model_fields_set
    buckets = settings.buckets if chosen or mark is None else mark.buckets
    fit = mark is None or mark.buckets == buckets
    if not fit or users.filter(pl.col("bucket") != (pl.col("user_key") & (buckets - 1))).height:
        right = f"={mark.buckets}" if mark else " to the number that it was made with"
        raise ConfigurationError(
            f"The users in {settings.store_path} are not in {buckets} buckets. Set SEGADMIN_BUCKETS{right}."
        )
    return buckets


def _users(settings: Settings) -> pl.DataFrame:
    folder = settings.store_path / "lake" / "users"
    schema = {"user": pl.String, "user_key": pl.Int64, "bucket": pl.Int32}
    if not (folder / "_delta_log").is_dir():
        return pl.DataFrame(schema=schema)
    return pl.scan_delta(open_table(folder)).select(pl.col(name).cast(kind) for name, kind in schema.items()).collect()
