"""Erasure of users from SQL texts, logs, streams of the embedded Redis, and other files in the store."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
from sqlalchemy import true
from sqlmodel import Session, col, delete, select

from segadmin.contracts.event_kinds import plain_word
from segadmin.contracts.source import NOTE
from segadmin.errors import JobError, StorageError
from segadmin.events.cells import raw_rows, readable
from segadmin.events.compression import DAMAGE, contents
from segadmin.events.exact_json import encode
from segadmin.events.field_names import ALSO_CALLED
from segadmin.events.keys import show_key
from segadmin.events.named_users import ERASED, NamedUsers
from segadmin.events.quarantine_users import owned, row_of_json
from segadmin.files import put
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.mark import MARK
from segadmin.storage.records import (
    Audit,
    Correction,
    Import,
    Job,
    JobState,
    LabelSet,
    QuarantinedMessage,
    SavedMapping,
    Schedule,
    SegmentDescription,
    Step,
    UserMerge,
)

#: Columns that may name users: texts, and JSON with texts and mappings.
_TEXTS: tuple[Any, ...] = (
    *(Import.file, Import.error, Job.error, Step.error, Step.note, QuarantinedMessage.message),
    *(Correction.reason, Correction.withdrawn_because, SavedMapping.text),
    *(SegmentDescription.description, SegmentDescription.owner),
)
#: Kinds of jobs that are asked to import something.
_IMPORTS = ("ingest", "import-upload")
_JSON: tuple[tuple[Any, Any], ...] = (
    *((Import.mapping, true()), (Import.warnings, true()), (LabelSet.definition, true())),
    (Step.result, col(Step.stage).in_(["ingest", "score", "canary"])),  # the last two: what a plugin said as it failed
    (Audit.details, Audit.action == "segments.describe"),
    *((column, col(Job.kind).in_(_IMPORTS)) for column in (Job.options, Job.asked)),
)
#: Files and folders of segadmin in the store; all others are exports and pages that users put there.
_OWN_NAMES = frozenset(
    {
        *(MARK, "compacted.json", "compacted.draft"),
        *("erasure", "erasure.draft", "erasure.lock", "import.lock"),
        *("lake", "work", "spool", "inbox", "inbox-failed", "models", "uploads"),
    }
)
#: States of jobs with remaining steps.
GOING_ON = [state for state in JobState if not state.over]
_BATCH_LINES = 50_000
_PARQUET = b"PAR1"
#: Fields of the entries that the feed ``redis-stream`` adds.
_OF_FEED = {"feed", "label_set", "sequence", "position", "user"}
_REDIS_SECONDS, _REWRITE_SECONDS = 10.0, 60.0


def refuse_asked_for(session: Session, users: NamedUsers) -> None:
    """Check that no job and no schedule will import events of one of the users.

    Raises:
        JobError: one will; the message names it.
    """
    for job in session.exec(select(Job).where(col(Job.state).in_(GOING_ON), col(Job.kind).in_(_IMPORTS))).all():
        if effect := _effect_on_users(job.options, users):
            raise JobError(
                f"Job {job.id} will {effect} a user who is to be erased. Wait, or: segadmin jobs cancel {job.id}"
            )
    for schedule in session.exec(select(Schedule)).all():
        if effect := _effect_on_users(schedule.options, users):
            raise JobError(
                f"The schedule {schedule.name!r} will {effect} a user who is to be erased. Remove it: "
                f"segadmin schedule remove {schedule.name}"
            )


def refuse_uploads(session: Session) -> None:
    """Check that no job is about to import an uploaded file: an erasure removes all of them.

    Raises:
        JobError: one is; the message names it.
    """
    uploads = select(Job.id).where(col(Job.state).in_(GOING_ON), Job.kind == "import-upload")
    if number := session.exec(uploads.order_by(col(Job.id)).limit(1)).first():
        raise JobError(
            f"Job {number} imports an uploaded file, which may name a user who is to be erased. Wait until it is over, "
            f"or: segadmin jobs cancel {number}"
        )


def _effect_on_users(options: dict[str, Any], users: NamedUsers) -> str | None:
    """Return what a job with these options does with one of the users; ``None`` if they name none."""
    mapping = options.get("mapping")
    if users.without(mapping) != mapping:
        return "give every row that it imports to"
    return "import a file that is named after" if users.without(options) != options else None


def erase_in_database(settings: Settings, users: NamedUsers) -> None:
    """Delete users' corrections and merges, and remove users from messages, mappings, requests and the audit log.

    Actions and actors of the audit log are kept.
    """
    with transaction(settings) as session:
        for key in users.names:
            session.exec(delete(UserMerge).where((col(UserMerge.old_key) == key) | (col(UserMerge.new_key) == key)))
            session.exec(delete(Correction).where(col(Correction.user_key) == key))
        user_entries = session.exec(select(Audit).where(col(Audit.subject).startswith("user "))).all()
        subjects = {f"user {show_key(key)}" for key in users.names}
        # Older releases named the erased user.
        subjects |= {entry.subject for entry in user_entries if entry.action == "data.forget"}
        for entry in user_entries:
            if entry.subject in subjects:
                entry.subject = f"user {ERASED}"
        for column in _TEXTS:
            _erase_in_texts(session, column, users)
        for job in _erase_in_texts(session, col(Job.idempotency_key), users):
            job.idempotency_key = f"{job.idempotency_key} {job.id}"  # keys must be unique
        for column, condition in _JSON:
            table, name = column.class_, column.key
            for row in session.exec(select(table).where(condition)).all():
                value = {name: getattr(row, name)}
                if (without := users.without(value)) != value:
                    setattr(row, name, without[name])


def count_corrections(settings: Settings, users: NamedUsers) -> Counter[int]:
    """Return the number of corrections per user key."""
    with transaction(settings) as session:
        return Counter(key for key in session.exec(select(Correction.user_key)).all() if key in users.names)


def _erase_in_texts(session: Session, column: Any, users: NamedUsers) -> list[Any]:
    """Remove users from a column, and return the rows that named them."""
    rows = session.exec(select(column.class_).where(column.is_not(None), column != "")).all()
    texts = pl.Series([getattr(row, column.key) for row in rows], dtype=pl.String)
    naming = [row for row, owner in zip(rows, users.of_texts(texts), strict=True) if owner is not None]
    for row in naming:
        setattr(row, column.key, users.mask(getattr(row, column.key)))
    return naming


def erase_in_logs(settings: Settings, users: NamedUsers) -> None:
    """Overwrite the lines that name users, in place, because running processes append to the same files."""
    for path in sorted(settings.run_path.glob("*.log*")):
        if path.is_file():
            with path.open("r+b") as file:
                _erase_lines(file, users.distinctive)


def _erase_lines(file: BinaryIO, users: NamedUsers) -> None:
    start = 0
    while lines := list(islice(file, _BATCH_LINES)):
        texts = [line.decode("utf-8", "backslashreplace") for line in lines]
        end = file.tell()
        for line, owner in zip(lines, users.of_texts(pl.Series(texts, dtype=pl.String)), strict=True):
            if owner is not None:
                file.seek(start)
                file.write(ERASED.encode().ljust(len(line) - 1)[: len(line) - 1])
            start += len(line)
        file.seek(end)


def erase_in_streams(settings: Settings, users: NamedUsers) -> None:
    """Delete users' entries from the streams of the embedded Redis that are imported or fed, also from its file.

    Raises:
        StorageError: Redis does not run and its file names users, or it does not rewrite its file.
    """
    folder = settings.root / "redis"
    if not settings.embedded_broker or not folder.is_dir():
        return
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client: Any = redis.Redis(
        unix_socket_path=str(settings.redis_socket),
        socket_timeout=_REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    try:
        client.ping()
    except redis.RedisError:
        if any(_names(path, users.distinctive) for path in folder.rglob("*") if path.is_file()):
            raise StorageError(
                f"The embedded Redis does not run, and its file in {folder} names users who are to be erased. Start "
                "it: segadmin up, and then: segadmin data forget"
            ) from None
        return
    try:
        streams = list(client.scan_iter(_type="stream"))
        ours = [
            stream
            for stream in streams
            if _erase_in_stream(settings, client, stream, users) or _erase_in_feed(client, stream, users)
        ]
        if ours:  # also without deletions, because an erasure may have been killed before this
            _rewrite(client)
    except redis.RedisError as error:
        raise StorageError(
            f"The streams of the embedded Redis may name users who are to be erased: {error}. Try again: segadmin data "
            "forget"
        ) from None
    finally:
        client.close()


def _erase_in_stream(settings: Settings, client: Any, stream: str, users: NamedUsers) -> bool:
    """Delete users' entries of a stream if it was imported; return whether it was."""
    digests = [_digest(stream, group["name"]) for group in client.xinfo_groups(stream)]
    with transaction(settings) as session:
        newest = select(Import).where(col(Import.sha256).in_(digests)).order_by(col(Import.id).desc()).limit(1)
        imported = session.exec(newest).first()
    if imported is None:  # not a stream that segadmin reads
        return False
    last = "-"
    while entries := client.xrange(stream, min=last, count=_BATCH_LINES):
        last = f"({entries[-1][0]}"
        rows = pl.Series([row_of_json(fields.get("json") or encode(fields)) for _, fields in entries], dtype=pl.String)
        erased_ids = [entries[line][0] for line in owned(rows, imported.mapping, users)["line"]]
        if erased_ids:
            client.xdel(stream, *erased_ids)
    return True


def _erase_in_feed(client: Any, stream: str, users: NamedUsers) -> bool:
    """Delete users' entries of a stream if a feed added to it, also one that was removed; return whether one did."""
    pseudonyms, last = {show_key(key) for key in users.names}, "-"
    if not any(fields.keys() >= _OF_FEED for _, fields in client.xrange(stream, count=1)):
        return False
    while entries := client.xrange(stream, min=last, count=_BATCH_LINES):
        last = f"({entries[-1][0]}"
        if erased_ids := [entry for entry, fields in entries if fields.get("user") in pseudonyms]:
            client.xdel(stream, *erased_ids)
    return True


def _digest(stream: str, group: str) -> str:
    """Return the digest that identifies imports of a stream; see ``RedisStream.identity``."""
    return hashlib.sha256(f"stream:{stream}:{group}".encode()).hexdigest()


def _rewrite(client: Any) -> None:
    """Make Redis rewrite its file without deleted entries, and wait until it is done."""
    client.config_set("aof-use-rdb-preamble", "no")  # as in redis.conf, for servers started with another value
    client.bgrewriteaof()
    deadline = time.monotonic() + _REWRITE_SECONDS
    while (info := client.info("persistence"))["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]:
        if time.monotonic() > deadline:
            raise StorageError("The embedded Redis does not rewrite its file. See home/run/redis.log")
        time.sleep(0.05)


def erase_in_files(settings: Settings, users: NamedUsers) -> None:
    """Erase users from exports and pages in the store.

    Tables lose the users' rows; other files that name a user are deleted.

    Raises:
        StorageError: a file cannot be read or written.
    """
    if not users.names or not settings.store_path.is_dir():
        return
    own_paths = {settings.store_path / name for name in _OWN_NAMES}
    own_paths |= {*settings.database_files, settings.run_path}  # if the home is the store, they are in it
    own_paths |= {settings.root / name for name in ("redis", "user_key_secret", "flower_password")}
    others = [entry for entry in settings.store_path.iterdir() if entry not in own_paths and not entry.is_symlink()]
    for entry in sorted(others):
        for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
            if path.is_file() and not path.is_symlink() and path not in own_paths:
                _erase_in_file(path, users)


def _erase_in_file(path: Path, users: NamedUsers) -> None:
    try:
        try:
            _TABLES[path.suffix.lower()](path, users)
        except (KeyError, ValueError, pl.exceptions.PolarsError):  # not a table, despite its suffix
            if _names(path, users.distinctive):
                path.unlink()
    except DAMAGE as error:
        raise StorageError(
            f"{path} may name users who are to be erased, and cannot be read: {error}. Move it out of the store, and "
            "then: segadmin data forget"
        ) from None


def _names(path: Path, users: NamedUsers) -> bool:
    """Whether a file, or a file in a zip archive, names one of the users; other formats are searched as bytes."""
    with path.open("rb") as file:
        batches = (texts for content in contents(file) for texts in _texts(content))
        return any(owner is not None for texts in batches for owner in users.of_texts(texts))


def _texts(file: io.BufferedReader) -> Iterator[pl.Series]:
    """Yield the lines of a file, or the rows of a Parquet file, in batches."""
    if file.peek(len(_PARQUET)).startswith(_PARQUET):
        file = io.BufferedReader(io.BytesIO(file.read()))
        with suppress(pl.exceptions.PolarsError):
            yield raw_rows(readable(pl.read_parquet(file, hive_partitioning=False)))
        file.seek(0)
    while lines := list(islice(file, _BATCH_LINES)):
        yield pl.Series([line.decode("utf-8", "backslashreplace") for line in lines], dtype=pl.String)


def _erase_json_lines(path: Path, users: NamedUsers) -> None:
    lines = [line for line in path.read_text("utf-8", "surrogateescape").split("\n") if line.strip()]
    erased_rows = _rows_of(pl.Series([row_of_json(line) for line in lines], dtype=pl.String), users)
    if erased_rows:
        remaining = "".join(f"{line}\n" for index, line in enumerate(lines) if index not in erased_rows)
        _replace(path, lambda draft: draft.write_text(remaining, "utf-8", "surrogateescape"))


def _erase_csv(path: Path, users: NamedUsers) -> None:
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig")
    has_bom = path.read_bytes()[:3] == BOM_UTF8
    separator = max(",;\t", key=header.count)
    has_header = _is_header(next(csv.reader([header], delimiter=separator), []), users)
    frame = pl.read_csv(path, separator=separator, has_header=has_header, infer_schema=False, glob=False)

    def write(remaining: pl.DataFrame, draft: Path) -> None:
        remaining.write_csv(draft, separator=separator, include_bom=has_bom, include_header=has_header)

    _erase_frame(path, frame, users, write)


def _is_header(cells: Sequence[str], users: NamedUsers) -> bool:
    """Whether a table's first line is a header: it has a name of a user column, or names none of the users."""
    names_column = any(plain_word(cell) in _USER_COLUMNS for cell in cells)
    return names_column or all(users.of_cell(cell) is None for cell in cells)


def _erase_parquet(path: Path, users: NamedUsers) -> None:
    frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    _erase_frame(path, frame, users, lambda remaining, draft: remaining.write_parquet(draft))


def _erase_frame(
    path: Path, frame: pl.DataFrame, users: NamedUsers, write: Callable[[pl.DataFrame, Path], None]
) -> None:
    notes = frame.select(pl.col(name).cast(pl.String) for name in frame.columns if name.startswith(NOTE))
    erased_rows = _rows_of(raw_rows(pl.concat([readable(frame), notes], how="horizontal")), users)
    if erased_rows:
        remaining = frame.filter(~pl.int_range(frame.height, eager=True).is_in(sorted(erased_rows)))
        _replace(path, lambda draft: write(remaining, draft))


def _rows_of(rows: pl.Series, users: NamedUsers) -> set[int]:
    """Return the indices of rows that belong to users: by the user column, if there is one of a known name.

    In exports from quarantine, the text of unreadable rows is searched too.
    """
    columns = json.loads(rows[0]) if len(rows) else {}
    texts = [json.loads(row).get(f"{NOTE}text") for row in rows] if f"{NOTE}text" in columns else []
    owners = users.of_texts(pl.Series(texts, dtype=pl.String))
    user_column = next((column for column in columns if plain_word(column) in _USER_COLUMNS), None)
    mapping = {} if user_column is None else {"columns": {"user": user_column}, "constants": {}}
    return {*owned(rows, mapping, users)["line"], *(index for index, owner in enumerate(owners) if owner is not None)}


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    draft = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.draft")
    write(draft)
    put(draft, path)


_TABLES = {
    ".csv": _erase_csv,
    ".tsv": _erase_csv,
    ".jsonl": _erase_json_lines,
    ".ndjson": _erase_json_lines,
    ".parquet": _erase_parquet,
    ".pq": _erase_parquet,
}
_USER_COLUMNS = frozenset({"user", "userkey", *ALSO_CALLED["user"]})
