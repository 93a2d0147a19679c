"""The identity of the store: its folder and its database hold the same id, and a fingerprint of the secret.

The folder has them in ``store.json``. A folder that is empty because a disk is not mounted, or that belongs to another
database, is detected before anything is read from it or written to it.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, text
from sqlmodel import Session, col, select

from segadmin.counts import counted
from segadmin.errors import ConfigurationError, DataError, StorageError, StoreMissing
from segadmin.files import make_folder, put_once, replace_text
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.damage import refuse_damaged
from segadmin.storage.database import reading, transaction
from segadmin.storage.mark import ADOPT, MARK, Mark, has_tables, read_mark
from segadmin.storage.records import Import, ImportState, Job, Store

NO_EVENTS = "There are no events yet. Import some: segadmin data import events FILE, or try: segadmin demo"
_FINGERPRINT_MESSAGE = b"segadmin store"


def known_store(session: Session) -> Store:
    """Return the store's record, which the first import writes.

    Raises:
        DataError: nothing has been imported yet.
    """
    store = session.get(Store, 1)
    if store is None:
        raise DataError(NO_EVENTS)
    return store


def open_store(settings: Settings) -> Store:
    """Return the store's record; the first import creates it in the database and in the folder.

    A store that an older release created gets its id.

    Raises:
        ConfigurationError: the secret or the number of buckets differs from the store's, or the folder is another
            store.
        StoreMissing: the imported data is not in the folder.
        StorageError: the folder cannot be read or written.
    """
    store = check_store(settings)
    if store is None or not _is_marked(settings, store):
        store = _register(settings)
        compare_keys(settings)  # another process may have been first, with other settings
    return store


def check_store(settings: Settings) -> Store | None:
    """Compare folder, secret and buckets with the store's record and return it, without writing anything.

    Returns:
        ``None`` if nothing has been imported yet.

    Raises:
        ConfigurationError, StoreMissing, StorageError: as in :func:`open_store`.
    """
    store = compare_folder(settings)
    compare_keys(settings)
    return store


def check_folder(settings: Settings) -> None:
    """Check that the folder is the database's store; a store that an older release created gets its id.

    A check reads one small file. SQL is queried only until a store is found, and to report an error.

    Raises:
        ConfigurationError: the folder is another store, or a store that the database has no record of.
        StoreMissing: the imported data is not in the folder, or the folder is an older backup.
        DatabaseDamaged: its file is damaged.
        StorageError: the folder cannot be read or written.
    """
    refuse_damaged(settings)
    seen, mark = _seen_store(settings), read_mark(settings)
    if seen is not None and mark is not None and mark.id == seen.id and not mark.is_older_than(seen.last_import):
        seen.last_import = mark.last_import or seen.last_import
        return
    store = compare_folder(settings)
    _seen.pop(database.identity(settings), None)
    if store is not None and not _is_marked(settings, store):
        _register(settings)


def check_known(settings: Settings) -> None:
    """Call :func:`check_folder` if the database has a store; readers do not need one.

    Raises:
        ConfigurationError, StoreMissing, StorageError: as in :func:`check_folder`.
    """
    if _seen_store(settings) is not None:
        check_folder(settings)


@dataclass
class _Seen:
    """The last state of a store that this process has read."""

    id: str  #: never changes
    last_import: datetime | None  #: the newest in the database or the folder


#: :func:`segadmin.storage.database.identity` → store.
_seen: dict[tuple[str, tuple[int, int] | None], _Seen] = {}


def _seen_store(settings: Settings) -> _Seen | None:
    identity = database.identity(settings)
    if identity not in _seen:
        with transaction(settings) as session:
            store, last_import = session.get(Store, 1), _last_import(session)
        if store is None or store.store_id is None:
            return None
        _seen[identity] = _Seen(store.store_id, last_import)
    return _seen.get(identity)


def _last_import(session: Session) -> datetime | None:
    """Return the end of the succeeded import with the highest id, a query by index."""
    newest = select(Import.finished_at).where(Import.state == ImportState.SUCCEEDED).order_by(col(Import.id).desc())
    return session.exec(newest.limit(1)).first()


def missing_imports(session: Session, mark: Mark | None) -> list[Import]:
    """Return the imports that succeeded according to the database, and are newer than the folder's newest."""
    if mark is None or mark.last_import is None:
        return []
    later = select(Import).where(Import.state == ImportState.SUCCEEDED, col(Import.finished_at) > mark.last_import)
    return list(session.exec(later.order_by(col(Import.id))).all())


def note_import(settings: Settings, moment: datetime) -> None:
    """Write the end of an import, ``moment``, into the folder, before its success is committed to the database.

    The caller holds :func:`segadmin.storage.import_lock.alone`. Clocks of machines differ, so the later of two times
    is kept.

    Raises:
        StorageError: it cannot be written.
    """
    mark = read_mark(settings)
    if mark is None or (mark.last_import is not None and mark.last_import >= moment):
        return
    path = settings.store_path / MARK
    try:
        replace_text(path, replace(mark, last_import=moment).text, settings.umask_bits | 0o022)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}. Check the disk and SEGADMIN_STORE.") from None


def put_mark(settings: Settings, store: Store) -> Mark:
    """Write the mark of ``store`` into the folder unless it has one, and return the folder's mark.

    Raises:
        StorageError: it cannot be written.
    """
    assert store.store_id is not None
    content = Mark(store.store_id, store.buckets, store.key_fingerprint).text
    try:
        make_folder(settings.store_path, settings.umask_bits)
        put_once(settings.store_path / MARK, content, settings.umask_bits | 0o022)
    except OSError as error:
        raise StorageError(
            f"{settings.store_path} cannot be written: {error.strerror}. Check the disk and SEGADMIN_STORE."
        ) from None
    mark = read_mark(settings)
    assert mark is not None
    return mark


def one_at_a_time(session: Session) -> None:
    """Serialize the registration of a store among processes; on SQLite all transactions are serialized."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(7337, 2)"))


def fingerprint(secret: bytes) -> str:
    """Return the first 16 hex digits of the HMAC of a constant under ``secret``."""
    return hmac.digest(secret, _FINGERPRINT_MESSAGE, hashlib.sha256).hex()[:16]


def compare_folder(settings: Settings) -> Store | None:
    """Compare the folder with the database's store and return the store's record, without writing anything.

    Returns:
        ``None`` if nothing has been imported yet.

    Raises:
        ConfigurationError, StoreMissing, StorageError: as in :func:`check_folder`.
    """
    with reading(settings) as session:
        store = session.get(Store, 1)
        used, last_import = _used(session, store), _last_import(session)
    # In this order, because registration writes to the database first, then the mark, then the tables.
    tables, mark = has_tables(settings), read_mark(settings)
    if store is None and (tables or mark):
        with reading(settings) as session:
            store = session.get(Store, 1)
        if store is None:
            raise _unknown(settings)
    if store is not None:
        _compare_folder(settings, store, mark, used, tables=tables)
        if mark is not None and mark.is_older_than(last_import):
            _refuse_older(settings, mark)
    return store


def _used(session: Session, store: Store | None) -> str:
    """Return what the database has recorded for the store's folder, such as ``2 imports``; else an empty string."""
    succeeded = select(func.count(col(Import.id))).where(Import.state == ImportState.SUCCEEDED, Import.rows_read > 0)
    if imports := session.exec(succeeded).one():
        return counted(imports, "import")
    is_marked = store is not None and store.store_id is not None  # such a store was marked before its first job
    jobs = session.exec(select(func.count(col(Job.id)))).one() if is_marked else 0
    return counted(jobs, "job") if jobs else ""


def _is_marked(settings: Settings, store: Store) -> bool:
    return store.store_id is not None and read_mark(settings) is not None


def _register(settings: Settings) -> Store:
    """Write the store's id into the database and the folder; safe to call from several processes at once."""
    with transaction(settings) as session:
        one_at_a_time(session)
        store = session.get(Store, 1)
        if store is None:
            key_fingerprint = fingerprint(settings.create_secret())
            store = Store(buckets=settings.buckets, key_fingerprint=key_fingerprint, store_id=uuid.uuid4().hex)
        elif store.store_id is None:  # the folder first: a store with id and tables has a mark
            store.store_id = uuid.uuid4().hex
            store.store_id = put_mark(settings, store).id
        session.add(store)
    mark = put_mark(settings, store)
    _compare_folder(settings, store, mark, "", tables=False)
    return store


def _compare_folder(settings: Settings, store: Store, mark: Mark | None, used: str, *, tables: bool) -> None:
    path = settings.store_path
    if mark is not None:
        same = mark.key_fingerprint == store.key_fingerprint if store.store_id is None else mark.id == store.store_id
        if not same:
            raise ConfigurationError(
                f"{path} is the store {mark.id[:8]}…, and the database {database.shown(settings)} belongs to "
                f"{f'the store {store.store_id[:8]}…' if store.store_id else 'another one'}. Set SEGADMIN_STORE to the "
                "folder of that, or SEGADMIN_DATABASE_URL to the database of this."
            )
    elif tables:
        if store.store_id is not None:
            raise ConfigurationError(
                f"{path} has tables and no {MARK}, so it may be another store than the database's, "
                f"{store.store_id[:8]}…. Restore {MARK} from a backup; or, if it is that store: {ADOPT}"
            )
    elif used:
        other = "SEGADMIN_DATABASE_URL" if settings.database_url else "SEGADMIN_HOME"
        raise StoreMissing(
            f"The store is not in {path}: there is nothing, and the database {database.shown(settings)} knows of "
            f"{used}. Mount it or restore it, or set SEGADMIN_STORE to its folder. If it is lost for good, start over "
            f"with another {other}."
        )


def _refuse_older(settings: Settings, mark: Mark) -> None:
    with transaction(settings) as session:
        numbers = [missing.id for missing in missing_imports(session, mark)]
    if not numbers:  # another process has just adopted it
        return
    lost = f"import {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} imports, {numbers[0]} to {numbers[-1]}"
    raise StoreMissing(
        f"The store in {settings.store_path} is older than the database {database.shown(settings)}: it lacks {lost}. "
        f"Restore its newer backup. If there is none, go on without them: {ADOPT}. Then their files can be imported "
        "again."
    )


def _unknown(settings: Settings) -> ConfigurationError:
    return ConfigurationError(
        f"{settings.store_path} is the store of another database than {database.shown(settings)}, which knows nothing "
        f"of it. Restore that database, or set SEGADMIN_DATABASE_URL to it. To go on without it: {ADOPT}"
    )


def compare_keys(settings: Settings) -> Store | None:
    """Compare the secret and the number of buckets with the store's record and return it, without writing anything.

    Returns:
        ``None`` if nothing has been imported yet.

    Raises:
        ConfigurationError: one of them differs, or the secret is missing.
    """
    with reading(settings) as session:
        store = session.get(Store, 1)
    if store is None:
        if (settings.root / "user_key_secret").exists():
            settings.secret()  # reports an unreadable secret before the first import needs it
        return None
    try:
        current = fingerprint(settings.secret())
    except ConfigurationError as error:
        raise ConfigurationError(
            f"The store was made with the user-key secret {store.key_fingerprint}…, which is not here: {error}"
        ) from None
    if store.key_fingerprint != current:
        raise ConfigurationError(
            f"The store was made with the user-key secret {store.key_fingerprint}…, the settings have {current}…: "
            "the same users would get other keys. Restore SEGADMIN_USER_KEY_SECRET or home/user_key_secret."
        )
    if store.buckets != settings.buckets and "buckets" in settings.model_fields_set:
        raise ConfigurationError(
            f"SEGADMIN_BUCKETS={settings.buckets}, but the store was made with {store.buckets}, which is fixed. "
            "Unset SEGADMIN_BUCKETS."
        )
    return store
