"""Taking a file into the lake: chunk by chunk, each at most once, losing no row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl
from sqlmodel import select

from segadmin.database import transaction
from segadmin.errors import DataError, SegadminError, did_you_mean
from segadmin.events.cells import readable
from segadmin.events.clean import PROBLEM, clean, extras
from segadmin.events.keys import keys_of, open_store
from segadmin.events.lake import Commit, Lake
from segadmin.events.mapping import REQUIRED, Columns
from segadmin.events.schema import SCHEMAS
from segadmin.events.source import Source
from segadmin.jobs.attempt import file_digest
from segadmin.plugins import load_plugins
from segadmin.records import Import, LabelSet, utcnow
from segadmin.settings import Settings
from segadmin.timezones import zone

#: Rows read, cleaned and committed at a time: what memory is bounded by.
CHUNK_ROWS = 250_000


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


@dataclass
class _Run:
    """One import on its way."""

    settings: Settings
    request: Request
    record: Import
    lake: Lake
    buckets: int
    labels: list[pl.DataFrame] = field(default_factory=list)

    @property
    def app(self) -> str:
        """The name of this import's commits; with the file's digest, for a new database counts from 1 again."""
        return f"import-{self.record.id}-{self.record.sha256[:16]}"

    @cached_property
    def done(self) -> int:
        """The chunks that an interrupted run of this import committed."""
        return self.lake.last_version("events", self.app) or 0


def import_file(
    settings: Settings, request: Request, progress: Callable[[int], None] = lambda _: None
) -> tuple[Import, bool]:
    """Import a file and return its record, and whether anything was done.

    A file whose content was imported before is left out. An import that was interrupted goes on where it was:
    every chunk is one commit under its number, so none is taken twice.

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
    store = open_store(settings)
    record, done = _record(settings, request, _digest(request.path))
    if done:
        return record, False
    run = _Run(settings, request, record, Lake.of(settings), store.buckets)
    try:
        for number, chunk in enumerate(source.chunks(request.path, CHUNK_ROWS), start=1):
            _take(run, number, readable(chunk))
            progress(record.rows_read)
        if record.rows_read == 0:
            raise DataError(f"{request.path} has no rows.")
        _finish_labels(run)
    except SegadminError as error:
        _close(run, "failed", str(error))
        raise
    return _close(run, "succeeded"), True


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

    Only events go on: items and labels are cheap to read again, and what was a problem then, such as an unknown
    user, need not be one now.
    """
    with transaction(settings) as session:
        before = session.exec(
            select(Import).where(Import.table == _table(request), Import.sha256 == digest).order_by(Import.id.desc())  # type: ignore[union-attr]
        ).first()
        if before is not None and not request.again and before.state == "succeeded":
            return before, True
        if before is not None and before.state == "running" and request.table != "events":
            before.state, before.error, before.finished_at = "failed", "It was interrupted.", utcnow()
        if before is None or before.state == "succeeded" or request.table != "events":
            before = Import(table=_table(request), file=request.path.name, sha256=digest)
        before.state, before.error, before.rows_read = "running", None, 0
        session.add(before)
        session.flush()
        return before, False


def _table(request: Request) -> str:
    return f"labels:{request.label_set}" if request.table == "labels" else request.table


def _take(run: _Run, number: int, chunk: pl.DataFrame) -> None:
    """Clean a chunk and commit it: bad rows and new users first, so that the last commit completes it."""
    request, record = run.request, run.record
    first_line = record.rows_read + 1
    record.rows_read += chunk.height
    if number <= run.done:
        return
    cleaned = clean(chunk, request.table, request.columns, request.timezone)
    cleaned = cleaned.with_columns(extras=extras(chunk, request.columns.extras), line=pl.row_index() + first_line)
    if "user" in cleaned.columns:
        keys = keys_of(cleaned["user"], run.settings.secret(), run.buckets)
        cleaned = cleaned.join(keys, on="user", how="left", maintain_order="left")
    if request.table == "events":
        cleaned = _mark_duplicates(run, cleaned)
    elif request.table == "labels":
        cleaned = _mark_unknown_users(run, cleaned)
    _quarantine(run, number, chunk, cleaned, first_line)
    kept = cleaned.filter(pl.col("problem").is_null())
    if request.table == "events":
        _add_users(run, number, kept)
        run.lake.append("events", kept, Commit(run.app, number))
    elif request.table == "items":
        _merge_items(run, kept)
    else:
        run.labels.append(kept)


def _mark_duplicates(run: _Run, cleaned: pl.DataFrame) -> pl.DataFrame:
    """Give every event its id, and mark those that were there before: in this file or in the lake."""
    cleaned = cleaned.with_columns(event_id=_event_ids(cleaned), shop_id=pl.col("event_id").is_not_null())
    good = pl.col("problem").is_null()
    known = _known_events(run, cleaned)
    marked = cleaned.join(known, on="event_id", how="left", maintain_order="left")
    again = good & (pl.col("known").fill_null(value=False) | ~pl.struct("event_id", good).is_first_distinct())
    return marked.with_columns(
        problem=pl.when(again).then(pl.lit("duplicate_event")).otherwise("problem"),
        problem_column=pl.when(again).then(pl.lit("event_id")).otherwise("problem_column"),
        problem_value=pl.when(again).then(pl.col("event_id").cast(pl.String)).otherwise("problem_value"),
    ).drop("known", "shop_id")


def _known_events(run: _Run, cleaned: pl.DataFrame) -> pl.DataFrame:
    """Return the ids among those of ``cleaned`` that the lake has; without ids of the shop's, only their times count.

    An id made of what the event says has the time in it, so files of other times need not be read.
    """
    events = run.lake.scan("events")
    if not cleaned["shop_id"].any():
        good = cleaned.filter(pl.col("problem").is_null())["at"]
        events = events.filter(pl.col("at").is_between(good.min(), good.max()))
    ids = cleaned.lazy().select("event_id").unique()
    return events.select(pl.col("event_id").unique()).join(ids, on="event_id").with_columns(known=True).collect()


def _event_ids(cleaned: pl.DataFrame) -> pl.Series:
    """Return 64-bit ids: of the shop's own event id where it has one, else of everything the event says.

    BLAKE2 is the same on every machine and in every version, which Polars' own hash does not promise.
    """
    names = ("user_key", "kind", "item", "quantity", "price", "duration", "rating", "text", "extras")
    cells = [pl.col("at").cast(pl.Int64).cast(pl.String), *(pl.col(name).cast(pl.String) for name in names)]
    told = pl.concat_str(*(cell.fill_null("\x00") for cell in cells), separator="\x1f")
    text = cleaned.select(pl.coalesce(pl.col("event_id").cast(pl.String), told))
    ids = [
        None
        if cell is None
        else int.from_bytes(hashlib.blake2b(cell.encode(), digest_size=8).digest(), "big", signed=True)
        for cell in text.to_series()
    ]
    return pl.Series("event_id", ids, dtype=pl.Int64)


def _mark_unknown_users(run: _Run, cleaned: pl.DataFrame) -> pl.DataFrame:
    known = run.lake.scan("users").select("user_key", known=pl.lit(True)).collect()
    unknown = pl.col("problem").is_null() & pl.col("known").is_null()
    return (
        cleaned.join(known, on="user_key", how="left", maintain_order="left")
        .with_columns(
            problem=pl.when(unknown).then(pl.lit("unknown_user")).otherwise("problem"),
            problem_column=pl.when(unknown).then(pl.lit("user")).otherwise("problem_column"),
            problem_value=pl.when(unknown).then("user").otherwise("problem_value"),
        )
        .drop("known")
    )


def _quarantine(run: _Run, number: int, chunk: pl.DataFrame, cleaned: pl.DataFrame, first_line: int) -> None:
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
        row=rows.select(pl.struct(pl.all()).struct.json_encode()).to_series(),
    )
    run.lake.append("quarantine", frame, Commit(run.app, number))


def _add_users(run: _Run, number: int, kept: pl.DataFrame) -> None:
    seen = kept.select("bucket", "user_key", "user").unique("user_key", keep="first", maintain_order=True)
    known = run.lake.scan("users").select("user_key").collect()
    new = seen.join(known, on="user_key", how="anti")
    if not new.is_empty():
        run.lake.append("users", new, Commit(run.app, number))


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
    bad = run.lake.scan("quarantine").filter(pl.col("import_id") == record.id).group_by("reason").len().collect()
    record.state, record.error, record.finished_at = state, error, utcnow()
    record.reasons = dict(bad.iter_rows())
    record.rows_quarantined = sum(record.reasons.values())
    record.rows_kept = record.rows_read - record.rows_quarantined
    with transaction(run.settings) as session:
        return session.merge(record)
