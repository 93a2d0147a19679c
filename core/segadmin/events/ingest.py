"""Taking a file into the lake: chunk by chunk, each at most once, losing no row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl
from sqlmodel import Session, select

from segadmin.database import transaction
from segadmin.errors import DataError, SegadminError, did_you_mean
from segadmin.events.alone import alone
from segadmin.events.cells import raw_rows, readable
from segadmin.events.clean import PROBLEM, clean, extras, mark
from segadmin.events.duplicates import mark_duplicates
from segadmin.events.keys import keys_of, open_store
from segadmin.events.lake import Commit, Lake
from segadmin.events.mapping import REQUIRED, Columns
from segadmin.events.schema import SCHEMAS
from segadmin.events.source import Source
from segadmin.files import file_digest
from segadmin.plugins import load_plugins
from segadmin.records import Import, LabelSet, utcnow
from segadmin.settings import Settings
from segadmin.timezones import zone

#: Rows read, cleaned and committed at a time: what memory is bounded by.
CHUNK_ROWS = 250_000
INTERRUPTED = "It was interrupted."


@dataclass(frozen=True)
class Request:
    """What to import, and how to read it."""

    table: str  #: events, items or labels
    path: Path
    columns: Columns = field(default_factory=Columns)
    source: str | None = None  #: default: by the file's suffix
    timezone: str = "UTC"
    again: bool = False  #: import even if the same file was imported before
    label_set: str = ""  #: for labels
    segments: tuple[str, ...] = ()  #: for labels: their order; default: as they first appear

    @property
    def reading(self) -> str:
        """A digest of how the file is read: what another mapping committed is no part of this import."""
        columns = self.columns
        how = [dict(columns.columns), dict(columns.constants), [*columns.extras], self.source, self.timezone]
        return hashlib.blake2b(json.dumps(how, sort_keys=True).encode(), digest_size=4).hexdigest()


@dataclass
class _Run:
    """One import on its way."""

    settings: Settings
    request: Request
    record: Import
    lake: Lake
    buckets: int
    first_line: int  #: the file's line that the first row is in
    labels: list[pl.DataFrame] = field(default_factory=list)

    @property
    def app(self) -> str:
        """The name of this import's commits."""
        return _app(self.record, self.request)

    @cached_property
    def done(self) -> int:
        """The chunks that an interrupted run of this import committed."""
        return self.lake.last_version("events", self.app) or 0


def import_file(
    settings: Settings, request: Request, progress: Callable[[int], None] = lambda _: None
) -> tuple[Import, bool]:
    """Import a file and return its record, and whether anything was done.

    A file whose content was imported before is left out. An import of events that was interrupted goes on where
    it was: every chunk is one commit under its number, so none is taken twice. One import runs at a time in a
    store; another one waits.

    Args:
        settings: where the store is.
        request: what to import.
        progress: called with the rows read so far.

    Raises:
        ConfigurationError: there is no such time zone, or the settings are not those that the store was made with.
        DataError: the file cannot be read, or has not the columns that are needed. What was committed stays, and
            the same command goes on from there.
    """
    if request.table not in REQUIRED:
        raise DataError(f"There is no table {request.table!r} to import into.{did_you_mean(request.table, REQUIRED)}")
    if not request.path.is_file():
        raise DataError(f"There is no file {request.path}. Check the path.")
    zone(request.timezone)
    source = _source(settings, request)
    with alone(settings):
        buckets = open_store(settings).buckets
        record, done = _record(settings, request, _digest(request.path))
        if done:
            return record, False
        run = _Run(settings, request, record, Lake.of(settings), buckets, source.first_line)
        try:
            for number, chunk in enumerate(source.chunks(request.path, CHUNK_ROWS), start=1):
                _take(run, number, readable(chunk))
                progress(record.rows_read)
            if record.rows_read == 0:
                raise DataError(f"{request.path} has no rows.")
            _finish_labels(run)
        except BaseException as error:  # also Ctrl-C and a panic of Polars: the record must not say that it runs
            _close(run, "failed", _told(error))
            raise
        return _close(run, "succeeded"), True


def _told(error: BaseException) -> str:
    if isinstance(error, SegadminError):
        return str(error)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from None


def _source(settings: Settings, request: Request) -> Source:
    plugins = load_plugins(settings)
    if request.source is not None:
        return plugins.make("source", request.source)  # type: ignore[no-any-return]
    name = request.path.name.lower()
    for candidate in plugins.names("source"):
        made: Source = plugins.make("source", candidate)
        if name.endswith(made.suffixes):
            return made
    raise DataError(
        f"It is not clear what kind of file {request.path.name} is. Add --source; there are: "
        f"{', '.join(plugins.names('source'))}."
    )


def _record(settings: Settings, request: Request, digest: str) -> tuple[Import, bool]:
    """Return this file's import: the one from before, if it succeeded or is to go on, else a new one.

    Only events go on, and only if read in the same way: items and labels are cheap to read again, and what was a
    problem then, such as an unknown user, need not be one now.
    """
    with transaction(settings) as session:
        before = session.exec(
            select(Import).where(Import.table == _table(request), Import.sha256 == digest).order_by(Import.id.desc())  # type: ignore[union-attr]
        ).first()
        if (
            before is not None
            and before.state == "succeeded"
            and not request.again
            and _is_current(session, request, digest)
        ):
            return before, True
        if before is not None and before.state == "running":  # nobody else imports now, so it was killed
            before.state, before.error, before.finished_at = "failed", INTERRUPTED, utcnow()
        if before is None or before.state == "succeeded" or not _can_go_on(settings, request, before):
            before = Import(table=_table(request), file=request.path.name, sha256=digest)
        before.state, before.error, before.finished_at, before.rows_read = "running", None, None, 0
        session.add(before)
        session.flush()
        return before, False


def _is_current(session: Session, request: Request, digest: str) -> bool:
    """Whether what the file brought is still there, in the order wanted: a label set may have been replaced."""
    if request.table != "labels":
        return True
    label_set = session.get(LabelSet, request.label_set)
    if label_set is None or label_set.definition.get("sha256") != digest:
        return False
    return not request.segments or list(request.segments) == label_set.segments


def _can_go_on(settings: Settings, request: Request, before: Import) -> bool:
    if request.table != "events":
        return False
    return Lake.of(settings).last_version("events", _app(before, request)) is not None


def _app(record: Import, request: Request) -> str:
    """Return the name of an import's commits; with the file's digest, for a new database counts from 1 again."""
    return f"import-{record.id}-{record.sha256[:16]}-{request.reading}"


def _table(request: Request) -> str:
    return f"labels:{request.label_set}" if request.table == "labels" else request.table


def _take(run: _Run, number: int, chunk: pl.DataFrame) -> None:
    """Commit a chunk, unless an interrupted run of this import did."""
    first_line = run.record.rows_read + run.first_line
    if number == run.done + 1 and run.done:  # its bad rows may be there already: they come before its events
        run.lake.delete("quarantine", f"import_id = {run.record.id} AND line >= {first_line}")
    if number > run.done:
        _commit(run, number, chunk, first_line)
    run.record.rows_read += chunk.height


def _commit(run: _Run, number: int, chunk: pl.DataFrame, first_line: int) -> None:
    """Clean a chunk and commit it: bad rows and new users first, so that the last commit completes it."""
    request = run.request
    cleaned = clean(chunk, request.table, request.columns, request.timezone)
    cleaned = cleaned.with_columns(extras=extras(chunk, request.columns.extras), line=pl.row_index() + first_line)
    if "user" in cleaned.columns:
        keys = keys_of(cleaned["user"], run.settings.secret(), run.buckets)
        cleaned = cleaned.join(keys, on="user", how="left", maintain_order="left")
    if request.table == "events":
        cleaned = mark_duplicates(run.lake, cleaned)
    elif request.table == "labels":
        cleaned = _mark_unknown_users(run, cleaned)
    _quarantine(run, chunk, cleaned, first_line)
    kept = cleaned.filter(pl.col("problem").is_null())
    if request.table == "events":
        _add_users(run, kept)
        run.lake.append("events", kept, Commit(run.app, number))
    elif request.table == "items":
        _merge_items(run, kept)
    else:
        run.labels.append(kept)


def _mark_unknown_users(run: _Run, cleaned: pl.DataFrame) -> pl.DataFrame:
    known = run.lake.scan("users").select("user_key", known=pl.lit(True)).collect()
    unknown = pl.col("problem").is_null() & pl.col("known").is_null()
    joined = cleaned.join(known, on="user_key", how="left", maintain_order="left")
    return mark(joined, unknown, "unknown_user", "user").drop("known")


def _quarantine(run: _Run, chunk: pl.DataFrame, cleaned: pl.DataFrame, first_line: int) -> None:
    bad = cleaned.select("line", *PROBLEM).filter(pl.col("problem").is_not_null())
    if bad.is_empty():
        return
    rows = chunk[(bad["line"] - first_line).cast(pl.UInt32)]
    frame = bad.select(
        import_id=pl.lit(run.record.id),
        table=pl.lit(run.request.table),
        line="line",
        reason="problem",
        column="problem_column",
        value="problem_value",
        row=raw_rows(rows),
    )
    run.lake.append("quarantine", frame)


def _add_users(run: _Run, kept: pl.DataFrame) -> None:
    seen = kept.select("bucket", "user_key", "user").unique("user_key", keep="first", maintain_order=True)
    known = run.lake.scan("users").select("user_key").join(seen.lazy(), on="user_key", how="semi").collect()
    new = seen.join(known, on="user_key", how="anti")
    if not new.is_empty():
        run.lake.append("users", new)


def _merge_items(run: _Run, kept: pl.DataFrame) -> None:
    fresh = kept.select(SCHEMAS["items"].names())
    both = pl.concat([run.lake.scan("items").collect(), fresh]).unique("item", keep="last", maintain_order=True)
    run.lake.overwrite("items", both)


def _finish_labels(run: _Run) -> None:
    """Replace the label set by the file's rows; all at once, since a set is read as a whole."""
    request = run.request
    if request.table != "labels":
        return
    rows = pl.concat(run.labels).with_columns(label_set=pl.lit(request.label_set))
    segments = request.segments or tuple(rows["segment"].unique(maintain_order=True).to_list())
    strange = sorted(set(rows["segment"].unique()) - set(segments))
    if strange:
        raise DataError(f"The file has segments that --segments does not name: {', '.join(strange)}.")
    if rows.is_empty():
        raise DataError("No row of the file is usable: look at segadmin data quarantine.")
    run.lake.replace_partition("labels", rows, "label_set", request.label_set)
    with transaction(run.settings) as session:
        session.merge(
            LabelSet(
                name=request.label_set,
                labeler="table",
                definition={"file": request.path.name, "sha256": run.record.sha256},
                segments=list(segments),
                rows=rows.height,
            )
        )


def _close(run: _Run, state: str, error: str | None = None) -> Import:
    """End the import; its figures are counted in the lake, where an interrupted run left its rows too."""
    record = run.record
    of_whole_chunks = pl.col("line") < run.first_line + record.rows_read
    bad = run.lake.scan("quarantine").filter(pl.col("import_id") == record.id, of_whole_chunks)
    bad = bad.group_by("reason").len()
    record.state, record.error, record.finished_at = state, error, utcnow()
    record.reasons = dict(bad.collect().iter_rows())
    record.rows_quarantined = sum(record.reasons.values())
    nothing = state == "failed" and run.request.table == "labels"  # a set enters whole or not at all
    record.rows_kept = 0 if nothing else record.rows_read - record.rows_quarantined
    with transaction(run.settings) as session:
        return session.merge(record)
