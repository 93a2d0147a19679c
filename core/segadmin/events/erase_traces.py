"""Erasing users from where they are only mentioned: SQL, logs, streams in the embedded Redis, files in the store."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
from sqlalchemy import true
from sqlmodel import Session, col, select

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
from segadmin.storage.records import Audit, Import, Job, JobState, LabelSet, QuarantinedMessage, Schedule, Step
from segadmin.storage.store import MARK

#: Columns that may name users: in texts for people, or in JSON with such texts and mappings.
_TEXTS: tuple[Any, ...] = (Import.file, Import.error, Job.error, Step.error, Step.note, QuarantinedMessage.message)
_JSON: tuple[tuple[Any, Any], ...] = (
    *((Import.mapping, true()), (Import.warnings, true()), (LabelSet.definition, true())),
    (Step.result, Step.stage == "ingest"),
    *((Job.options, Job.kind == "ingest"), (Job.asked, Job.kind == "ingest")),
)
#: What the store has beside exports and pages that somebody put there.
_OURS = frozenset(
    {
        *(MARK, "compacted.json", "compacted.draft"),
        *("erasure", "erasure.draft", "erasure.lock", "import.lock"),
        *("lake", "work", "spool", "inbox", "inbox-failed", "models"),
    }
)
#: States of jobs that have steps to come.
GOING_ON = [state for state in JobState if not state.over]
_LINES = 50_000
_PARQUET = b"PAR1"
_REDIS_SECONDS, _REWRITE_SECONDS = 10.0, 60.0


def refuse_asked_for(session: Session, users: NamedUsers) -> None:
    """Check that no job and no schedule will import events of one of the users.

    Raises:
        JobError: one will; naming it.
    """
    for job in session.exec(select(Job).where(col(Job.state).in_(GOING_ON), Job.kind == "ingest")).all():
        if what := _what_names(job.options, users):
            raise JobError(
                f"Job {job.id} will {what} a user who is to be erased. Wait, or: segadmin jobs cancel {job.id}"
            )
    for one in session.exec(select(Schedule)).all():
        if what := _what_names(one.options, users):
            raise JobError(
                f"The schedule {one.name!r} will {what} a user who is to be erased. Remove it: segadmin schedule "
                f"remove {one.name}"
            )


def _what_names(options: dict[str, Any], users: NamedUsers) -> str | None:
    """Return what a job with these options does to one of the users; ``None`` where they name none."""
    mapping = options.get("mapping")
    if users.without(mapping) != mapping:
        return "give every row that it imports to"
    return "import a file that is named after" if users.without(options) != options else None


def erase_in_database(settings: Settings, users: NamedUsers) -> None:
    """Take users out of messages, mappings, requests and the audit log, which keeps what was done and by whom."""
    with transaction(settings) as session:
        of_users = session.exec(select(Audit).where(col(Audit.subject).startswith("user "))).all()
        shown = {f"user {show_key(key)}" for key in users.names}
        shown |= {entry.subject for entry in of_users if entry.action == "data.forget"}  # by an older version
        for entry in of_users:
            if entry.subject in shown:
                entry.subject = f"user {ERASED}"
        for column in _TEXTS:
            _erase_in_texts(session, column, users)
        for job in _erase_in_texts(session, col(Job.idempotency_key), users):
            job.idempotency_key = f"{job.idempotency_key} {job.id}"  # no two are the same
        for column, condition in _JSON:
            table, name = column.class_, column.key
            for row in session.exec(select(table).where(condition)).all():
                value = {name: getattr(row, name)}
                if (without := users.without(value)) != value:
                    setattr(row, name, without[name])


def _erase_in_texts(session: Session, column: Any, users: NamedUsers) -> list[Any]:
    """Take users out of a column, and return the rows that named them."""
    rows = session.exec(select(column.class_).where(column.is_not(None), column != "")).all()
    texts = pl.Series([getattr(row, column.key) for row in rows], dtype=pl.String)
    naming = [row for row, owner in zip(rows, users.of_texts(texts), strict=True) if owner is not None]
    for row in naming:
        setattr(row, column.key, users.mask(getattr(row, column.key)))
    return naming


def erase_in_logs(settings: Settings, users: NamedUsers) -> None:
    """Put other words in the place of lines that name users; running processes go on writing the same files."""
    for path in sorted(settings.run_path.glob("*.log*")):
        if path.is_file():
            with path.open("r+b") as file:
                _erase_lines(file, users.distinctive)


def _erase_lines(file: BinaryIO, users: NamedUsers) -> None:
    start = 0
    while lines := list(islice(file, _LINES)):
        texts = [line.decode("utf-8", "backslashreplace") for line in lines]
        end = file.tell()
        for line, owner in zip(lines, users.of_texts(pl.Series(texts, dtype=pl.String)), strict=True):
            if owner is not None:
                file.seek(start)
                file.write(ERASED.encode().ljust(len(line) - 1)[: len(line) - 1])
            start += len(line)
        file.seek(end)


def erase_in_streams(settings: Settings, users: NamedUsers) -> None:
    """Delete users' entries of the streams in the embedded Redis that imports read, also from its file.

    Raises:
        StorageError: it does not run, and its file names users; or it does not write its file anew.
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
        ours = [stream for stream in streams if _erase_in_stream(settings, client, stream, users)]
        if ours:  # also where nothing was left to delete: an erasure may have been killed just before
            _rewrite(client)
    except redis.RedisError as error:
        raise StorageError(
            f"The streams of the embedded Redis may name users who are to be erased: {error}. Try again: segadmin data "
            "forget"
        ) from None
    finally:
        client.close()


def _erase_in_stream(settings: Settings, client: Any, stream: str, users: NamedUsers) -> bool:
    """Delete users' entries of a stream that was imported from; return whether it was."""
    digests = [_digest(stream, group["name"]) for group in client.xinfo_groups(stream)]
    with transaction(settings) as session:
        newest = select(Import).where(col(Import.sha256).in_(digests)).order_by(col(Import.id).desc()).limit(1)
        imported = session.exec(newest).first()
    if imported is None:  # nothing that we read
        return False
    last = "-"
    while entries := client.xrange(stream, min=last, count=_LINES):
        last = f"({entries[-1][0]}"
        rows = pl.Series([row_of_json(fields.get("json") or encode(fields)) for _, fields in entries], dtype=pl.String)
        gone = [entries[line][0] for line in owned(rows, imported.mapping, users)["line"]]
        if gone:
            client.xdel(stream, *gone)
    return True


def _digest(stream: str, group: str) -> str:
    """Return what imports of a stream are known by; see ``RedisStream.identity``."""
    return hashlib.sha256(f"stream:{stream}:{group}".encode()).hexdigest()


def _rewrite(client: Any) -> None:
    """Let Redis write its file anew, without what was deleted, and wait until it has."""
    client.config_set("aof-use-rdb-preamble", "no")  # as in redis.conf, for a server that was started with another
    client.bgrewriteaof()
    end = time.monotonic() + _REWRITE_SECONDS
    while (info := client.info("persistence"))["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]:
        if time.monotonic() > end:
            raise StorageError("The embedded Redis does not write its file anew. Look: home/run/redis.log")
        time.sleep(0.05)


def erase_in_files(settings: Settings, users: NamedUsers) -> None:
    """Erase users from exports and pages that somebody put into the store.

    Of tables their rows go; other files that name them go as a whole.

    Raises:
        StorageError: a file cannot be read or written.
    """
    if not users.names or not settings.store_path.is_dir():
        return
    ours = {settings.store_path / name for name in _OURS}
    ours |= {*settings.database_files, settings.run_path}  # where the home is the store, they are in it
    ours |= {settings.root / name for name in ("redis", "user_key_secret", "flower_password")}
    tops = [top for top in settings.store_path.iterdir() if top not in ours and not top.is_symlink()]
    for top in sorted(tops):
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and not path.is_symlink() and path not in ours:
                _erase_in_file(path, users)


def _erase_in_file(path: Path, users: NamedUsers) -> None:
    try:
        try:
            _TABLES[path.suffix.lower()](path, users)
        except (KeyError, ValueError, pl.exceptions.PolarsError):  # no table, whatever it is called
            if _names(path, users.distinctive):
                path.unlink()
    except DAMAGE as error:
        raise StorageError(
            f"{path} may name users who are to be erased, and cannot be read: {error}. Take it out of the store, and "
            "then: segadmin data forget"
        ) from None


def _names(path: Path, users: NamedUsers) -> bool:
    """Whether a file names one of the users, or one in a zip archive; another database as far as its bytes tell."""
    with path.open("rb") as file:
        texts = (texts for content in contents(file) for texts in _texts(content))
        return any(owner is not None for some in texts for owner in users.of_texts(some))


def _texts(file: io.BufferedReader) -> Iterator[pl.Series]:
    """Yield the lines of a file; of Parquet, its rows."""
    if file.peek(len(_PARQUET)).startswith(_PARQUET):
        file = io.BufferedReader(io.BytesIO(file.read()))
        with suppress(pl.exceptions.PolarsError):
            yield raw_rows(readable(pl.read_parquet(file, hive_partitioning=False)))
        file.seek(0)
    while lines := list(islice(file, _LINES)):
        yield pl.Series([line.decode("utf-8", "backslashreplace") for line in lines], dtype=pl.String)


def _erase_json_lines(path: Path, users: NamedUsers) -> None:
    lines = [line for line in path.read_text("utf-8", "surrogateescape").split("\n") if line.strip()]
    gone = _rows_of(pl.Series([row_of_json(line) for line in lines], dtype=pl.String), users)
    if gone:
        left = "".join(f"{line}\n" for place, line in enumerate(lines) if place not in gone)
        _replace(path, lambda draft: draft.write_text(left, "utf-8", "surrogateescape"))


def _erase_csv(path: Path, users: NamedUsers) -> None:
    with path.open("rb") as file:
        head = file.readline().decode("utf-8-sig")
    has_mark = path.read_bytes()[:3] == BOM_UTF8
    separator = max(",;\t", key=head.count)
    has_header = _is_header(next(csv.reader([head], delimiter=separator), []), users)
    frame = pl.read_csv(path, separator=separator, has_header=has_header, infer_schema=False, glob=False)

    def write(left: pl.DataFrame, draft: Path) -> None:
        left.write_csv(draft, separator=separator, include_bom=has_mark, include_header=has_header)

    _erase_frame(path, frame, users, write)


def _is_header(cells: Sequence[str], users: NamedUsers) -> bool:
    """Whether a table's first line names its columns: it names none of the users, or says which column has them."""
    names_column = any(plain_word(cell) in _USER_COLUMNS for cell in cells)
    return names_column or all(users.of_cell(cell) is None for cell in cells)


def _erase_parquet(path: Path, users: NamedUsers) -> None:
    frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    _erase_frame(path, frame, users, lambda left, draft: left.write_parquet(draft))


def _erase_frame(
    path: Path, frame: pl.DataFrame, users: NamedUsers, write: Callable[[pl.DataFrame, Path], None]
) -> None:
    notes = frame.select(pl.col(name).cast(pl.String) for name in frame.columns if name.startswith(NOTE))
    gone = _rows_of(raw_rows(pl.concat([readable(frame), notes], how="horizontal")), users)
    if gone:
        left = frame.filter(~pl.int_range(frame.height, eager=True).is_in(sorted(gone)))
        _replace(path, lambda draft: write(left, draft))


def _rows_of(rows: pl.Series, users: NamedUsers) -> set[int]:
    """Return which rows are users': by the column of users, where a name tells which that is.

    Of exports from quarantine, also by the text of rows that could not be read.
    """
    columns = json.loads(rows[0]) if len(rows) else {}
    texts = [json.loads(row).get(f"{NOTE}text") for row in rows] if f"{NOTE}text" in columns else []
    noted = users.of_texts(pl.Series(texts, dtype=pl.String))
    named = next((column for column in columns if plain_word(column) in _USER_COLUMNS), None)
    mapping = {} if named is None else {"columns": {"user": named}, "constants": {}}
    return {*owned(rows, mapping, users)["line"], *(line for line, owner in enumerate(noted) if owner is not None)}


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
