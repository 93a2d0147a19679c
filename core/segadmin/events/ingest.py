"""Taking a file into the lake: at most once, whole or not at all, losing no row.

Chunk by chunk it is read, cleaned and spooled; then what was spooled enters the lake in one commit. So readers never
see half an import, and one that was killed goes on behind its last chunk.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from sqlmodel import Session, func, select

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.source import Source, refuse_folder
from segadmin.errors import DataError, SegadminError, did_you_mean
from segadmin.events.advice import (
    repeated_ids,
    replaced_rows,
    segment_names,
    several_segments,
    unknown_kinds,
    unknown_statuses,
)
from segadmin.events.cells import readable
from segadmin.events.clean import Cleaned, clean, complete
from segadmin.events.deduplicate import settle_events
from segadmin.events.fill_down import fill_of
from segadmin.events.ids import event_ids
from segadmin.events.interrupted import FROM_QUEUE, INTERRUPTED, content_name, note_interrupted, spool_folder
from segadmin.events.keys import keys_of
from segadmin.events.mapping import REQUIRED, Mapping
from segadmin.events.number_columns import NumberColumns
from segadmin.events.quarantine_users import kept_mapping
from segadmin.events.spool import Spool
from segadmin.names import check_name, check_names
from segadmin.paths import local_path
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.import_lock import alone
from segadmin.storage.lake import Commit, Lake
from segadmin.storage.records import Import, ImportState, LabelSet, utcnow
from segadmin.storage.schema import SCHEMAS
from segadmin.storage.store import note_import, open_store
from segadmin.urls import mask_url, url_problem

#: Rows read, cleaned and spooled at a time; half as many where each is a Python object on its way.
CHUNK_ROWS = 500_000
ALL_KNOWN = "All of its events are in the store already."
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Request:
    """What to import, and how to read it."""

    table: str  #: events, items or labels
    where: str  #: a file, or the URL of what a source reads
    mapping: Mapping = field(default_factory=Mapping)
    source: str | None = None  #: default: by the file's suffix, or the URL's scheme
    options: dict[str, Any] = field(default_factory=dict)  #: of the source
    again: bool = False  #: import even if the same file was imported before
    label_set: str = ""  #: for labels
    segments: tuple[str, ...] = ()  #: for labels: their order; default: as they first appear

    @property
    def name(self) -> str:
        """What people know it by; without the password that a URL may have."""
        path = local_path(self.where)
        return mask_url(self.where) if path is None else path.absolute().name

    @property
    def place(self) -> str:
        """:attr:`where` as sources take it: a path, also for a ``file://`` URL; or a URL."""
        path = local_path(self.where)
        return self.where if path is None else str(path)

    @property
    def reading(self) -> str:
        """A digest of how the file is read: what another mapping committed is no part of this import."""
        told = f"{self.source} {sorted(self.options.items())} {self.mapping.model_dump_json()}"
        return hashlib.blake2b(told.encode(), digest_size=4).hexdigest()


@dataclass
class _Run:
    """One import on its way."""

    settings: Settings
    request: Request
    record: Import
    lake: Lake
    buckets: int
    consumes: bool
    numbers: NumberColumns
    warnings: list[str] = field(default_factory=list)

    @property
    def app(self) -> str:
        """The name of this import's commits and files.

        With its time: a database that was restored or is new counts on from a number that the lake has already, and the
        digest of a queue is always the same.
        """
        begun = f"{self.record.created_at:%Y%m%dT%H%M%S}"
        return f"import-{begun}-{self.record.id}-{self.record.sha256[:16]}-{self.request.reading}"

    @property
    def is_in_the_lake(self) -> bool:
        """Whether an interrupted run of this import made its last commit."""
        return self.request.table == "events" and self.lake.last_version("events", self.app) is not None

    @property
    def spool(self) -> Spool:
        """What was read so far: found again by an import of the same content in the same way."""
        reading = FROM_QUEUE if self.consumes else self.request.reading
        content = content_name(self.record.sha256, _table(self.request))
        return Spool(spool_folder(self.settings) / content / reading)

    def clear_other_readings(self) -> None:
        """Remove what was read of the same content in another way: the record knows only how it is read now."""
        for folder in self.spool.folder.parent.glob("*"):
            if folder != self.spool.folder:
                shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove what was read, in this way or in another."""
        shutil.rmtree(self.spool.folder.parent, ignore_errors=True)


def import_file(
    settings: Settings, request: Request, progress: Callable[[int], None] = lambda _: None
) -> tuple[Import, bool]:
    """Import a file and return its record, and whether anything was done.

    A file whose content was imported before is left out. An import that was interrupted goes on where it was. One
    import runs at a time in a store; another one waits.

    Args:
        settings: where the store is.
        request: what to import.
        progress: called with the rows read so far.

    Raises:
        ConfigurationError: there is no such time zone, or the settings are not those that the store was made with.
        DataError: the file cannot be read, or has not the columns that are needed; or a name cannot be used. Nothing of
            it is in the lake.
        StorageError: the store cannot be written. The same command goes on from there.
    """
    if request.table not in REQUIRED:
        raise DataError(f"There is no table {request.table!r} to import into.{did_you_mean(request.table, REQUIRED)}")
    if request.table == "labels":
        check_name("label set", request.label_set)
        check_names("segment", request.segments)
    source = source_of(settings, request)
    identity = source.identity(request.place)
    with alone(settings):
        buckets = open_store(settings).buckets
        lake = Lake.of(settings)
        record, done = _record(settings, request, _digest(identity), lake, consumes=source.consumes)
        if done:
            return record, False
        numbers = NumberColumns(request.mapping, typed=source.typed, whole=not source.consumes)
        run = _Run(settings, request, record, lake, buckets, source.consumes, numbers)
        if run.is_in_the_lake:  # it was killed just behind its last commit
            record.source_rows, record.rows_read = run.spool.rows, run.spool.events
            record = _close(run, ImportState.SUCCEEDED)
            run.clear()
            return record, True
        run.clear_other_readings()
        try:
            _read(run, source, progress)
            _settle(run)
        except BaseException as error:  # also Ctrl-C and a panic of Polars: the record must not say that it runs
            # Mended, it will be another file or mapping; but what a queue gave is nowhere else.
            if not source.consumes and (isinstance(error, DataError) or identity is None):
                run.clear()
            _close(run, ImportState.FAILED, _told(error))
            raise
        record = _close(run, ImportState.SUCCEEDED)
        run.clear()
        return record, True


def _digest(identity: str | None) -> str:
    """Return what an import is known by: a file's SHA-256 as it is, else that of what the source says."""
    if identity is None:
        return hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    return identity if _SHA256.fullmatch(identity) else hashlib.sha256(identity.encode()).hexdigest()


def _told(error: BaseException) -> str:
    if isinstance(error, SegadminError):
        return str(error)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def source_of(settings: Settings, request: Request) -> Source:
    """Return what reads the request's place: the source it names, else the one for its suffix or URL.

    Raises:
        ConfigurationError: an option is unknown.
        DataError: nothing tells which source it is.
    """
    if local_path(request.where) is None and (
        problem := url_problem(request.where)
    ):  # a client would repeat parts of it
        raise DataError(f"{request.name!r} cannot be read: {problem}.")
    plugins = load_plugins(settings)
    choice = request.mapping.source
    name = request.source or plugins.choose("source", lambda source: source.takes(request.place)) or choice.name
    if name is None:
        refuse_folder(request.place)
        raise DataError(
            f"It is not clear what kind of source {request.name} is. "
            f"Add --source; there are: {', '.join(plugins.names('source'))}.{plugins.failures}"
        )
    options = choice.options if name == choice.name else {}
    made: Source = plugins.make("source", name, options | request.options)
    return made


def _record(settings: Settings, request: Request, digest: str, lake: Lake, *, consumes: bool) -> tuple[Import, bool]:
    """Return this file's import: the one from before, if it succeeded or is to go on, else a new one."""
    number = _next_number(settings, lake)
    with transaction(settings) as session:
        note_interrupted(session)
        before = session.exec(
            select(Import).where(Import.table == _table(request), Import.sha256 == digest).order_by(Import.id.desc())  # type: ignore[union-attr]
        ).first()
        if (
            before is not None
            and before.state == ImportState.SUCCEEDED
            and not (request.again or consumes)
            and _is_current(session, request, digest)
        ):
            return before, True
        if before is None or before.state == ImportState.SUCCEEDED:
            before = Import(id=number, table=_table(request), file=request.name, sha256=digest)
        before.state, before.error, before.finished_at, before.rows_read = ImportState.RUNNING, None, None, 0
        before.mapping = kept_mapping(request.mapping, settings.secret())
        session.add(before)
        session.flush()
        return before, False


def _next_number(settings: Settings, lake: Lake) -> int:
    """Return a number that no import has had: a database that was restored forgot some, and the quarantine did not."""
    with transaction(settings) as session:
        known = session.exec(select(func.max(Import.id))).one() or 0
    rows = lake.scan("quarantine").select(pl.col("import_id").max()).collect().item() or 0
    return max(known, rows) + 1


def _is_current(session: Session, request: Request, digest: str) -> bool:
    """Whether what the file brought is still there, in the order wanted: a label set may have been replaced."""
    if request.table != "labels":
        return True
    label_set = session.get(LabelSet, request.label_set)
    if label_set is None or label_set.definition.get("sha256") != digest:
        return False
    return not request.segments or list(request.segments) == label_set.segments


def _table(request: Request) -> str:
    return f"labels:{request.label_set}" if request.table == "labels" else request.table


def _read(run: _Run, source: Source, progress: Callable[[int], None]) -> None:
    """Spool the file, but for the rows that an interrupted run of this import spooled."""
    kept = run.spool.rows
    for facts in run.spool.numbers:
        run.numbers.open_chunk(facts)
    done, events = kept if source.consumes else 0, run.spool.events
    run.record.source_rows, run.record.rows_read = done, events
    fill_down = fill_of(run.request.mapping)
    rows = CHUNK_ROWS if source.columnar else max(1, CHUNK_ROWS // 2)

    def keep(chunk: pl.DataFrame) -> None:
        nonlocal events
        fresh = fill_down(chunk)[max(0, kept - done) :]
        if fresh.height:
            raw = readable(fresh)
            if source.consumes:
                raw = complete(raw, run.request.table, run.request.mapping)
            first_line = source.first_line + done + chunk.height - fresh.height
            cleaned = _cleaned(run, raw, first_line)
            run.spool.add(raw, cleaned, first_line)
            events += cleaned.read

    for chunk in _kept(source.chunks(run.request.place, rows), keep, tells=source.sets_aside):
        done += chunk.height
        run.record.source_rows, run.record.rows_read = done, events
        progress(done)
    if done == 0 and not source.consumes:
        raise DataError(f"{run.request.place} has no rows.")
    _decide_numbers(run)


def _kept(
    chunks: Iterator[pl.DataFrame], keep: Callable[[pl.DataFrame], None], *, tells: bool
) -> Iterator[pl.DataFrame]:
    """Yield every chunk that ``keep`` took; of one that it could not take, the source hears where it wants to."""
    try:
        chunk = next(chunks, None)
        while chunk is not None:
            try:
                keep(chunk)
            except (Exception, pl.exceptions.PanicException) as error:
                if not tells:
                    raise
                chunk = _thrown(chunks, error)
            else:
                yield chunk
                chunk = next(chunks, None)
    finally:
        if isinstance(chunks, Generator):
            chunks.close()


def _thrown(chunks: Iterator[pl.DataFrame], error: BaseException) -> pl.DataFrame | None:
    """Return the next chunk after the source was told of an error; raises it where the source does not take it."""
    assert isinstance(chunks, Generator)
    try:
        chunk: pl.DataFrame = chunks.throw(error)
    except StopIteration:
        return None
    return chunk


def _decide_numbers(run: _Run) -> None:
    """Read those chunks again whose numbers look otherwise, now that all of the file has been seen.

    Raises:
        DataError: it is open whether a comma is the decimal sign.
    """
    stale = [place for place, facts in enumerate(run.spool.numbers) if run.numbers.is_stale(facts)]
    while stale:
        for place in stale:
            run.spool.read_again(place, lambda raw, first_line: _cleaned(run, raw, first_line))
        stale = [place for place, facts in enumerate(run.spool.numbers) if run.numbers.is_stale(facts)]
    run.numbers.refuse_open()
    run.numbers.refuse_mixed()


def _cleaned(run: _Run, raw: pl.DataFrame, first_line: int) -> Cleaned:
    mapping = run.request.mapping
    cleaned = clean(raw, run.request.table, mapping, first_line, run.numbers)
    good = cleaned.good
    if "user" in good.columns:
        keys = keys_of(good["user"], run.settings.secret(), run.buckets)
        good = good.join(keys, on="user", how="left", maintain_order="left")
    if run.request.table == "events":
        good = good.with_columns(event_ids(good), own_id=pl.col("event_id").is_not_null())
        good = good.drop("status", "currency", "unit_price")
    return replace(cleaned, good=good)


def _settle(run: _Run) -> None:
    """Take the spool into the lake; the last commit completes it, so that a killed import knows whether it is in."""
    lake, app = run.lake, run.app
    if run.spool.chunks == 0:  # a stream without anything new
        return
    if run.request.table == "events":
        commit = Commit(app, 1)
        # An import that was killed between its two commits wrote users before, of whom some may be gone again, or who
        # are not all: a queue has given more since. Whoever is missing now is a commit of its own.
        users = Commit(app, (lake.last_version("users", app) or 0) + 1)
        settled = settle_events(lake, run.spool, commit, users, run.request.mapping.rules)
        run.record.late = dict(settled.late)
        column = run.request.mapping.columns.get("event_id", "event_id")
        run.warnings += repeated_ids(settled.repeated_ids, settled.own_ids, column)
        _quarantine(run, pl.concat(settled.bad))
        if settled.users:
            lake.commit_files("users", settled.users, users)
        lake.commit_files("events", settled.events, commit)
    elif run.request.table == "items":
        _quarantine(run, run.spool.bad())
        fresh = run.spool.good().select(SCHEMAS["items"].names()).collect()
        both = pl.concat([lake.scan("items").collect(), fresh]).unique("item", keep="last", maintain_order=True)
        lake.overwrite("items", both)
    else:
        _replace_labels(run)


def _quarantine(run: _Run, bad: pl.DataFrame) -> None:
    """Keep the rows that cannot be used, as they came; instead of those that an earlier run of the same file kept."""
    earlier = [] if run.consumes else _earlier(run)
    numbers = [run.record.id, *earlier]
    run.lake.delete("quarantine", f"import_id IN ({', '.join(map(str, numbers))})")
    if bad.is_empty():
        return
    told = {"import_id": pl.lit(run.record.id), "table": pl.lit(run.request.table)}
    run.lake.append("quarantine", run.spool.as_they_came(bad).with_columns(**told))


def _earlier(run: _Run) -> list[int]:
    """Return the earlier imports of the same file that left rows in quarantine, and say that this one replaces them."""
    with transaction(run.settings) as session:
        same = (Import.table == run.record.table, Import.sha256 == run.record.sha256, Import.id != run.record.id)
        numbers = session.exec(select(Import.id).where(*same)).all()
    if not numbers:
        return []
    theirs = run.lake.scan("quarantine").filter(pl.col("import_id").is_in(numbers))
    rows = theirs.group_by("import_id").len().sort("import_id").collect()
    run.warnings += [replaced_rows(number, count) for number, count in rows.iter_rows()]
    return rows["import_id"].to_list()


def _replace_labels(run: _Run) -> None:
    """Replace the label set by the file's rows; all at once, since a set is read as a whole."""
    request = run.request
    known = run.lake.scan("users").select("user_key", known=pl.lit(value=True))
    rows = run.spool.good().join(known, on="user_key", how="left", maintain_order="left").sort("line").collect()
    unknown = rows.filter(pl.col("known").is_null()).select(
        "line", reason=pl.lit("unknown_user"), column=pl.lit("user"), value=pl.lit(None, pl.String)
    )
    names = rows["segment"].unique(maintain_order=True).to_list()
    check_names("segment", names)
    run.warnings += segment_names(names)
    rows = rows.filter(pl.col("known").is_not_null()).with_columns(label_set=pl.lit(request.label_set))
    by_moment = rows.group_by("user_key", "as_of").agg(pl.col("segment").n_unique())
    run.warnings += several_segments(by_moment.filter(pl.col("segment") > 1)["user_key"].n_unique())
    segments = request.segments or tuple(rows["segment"].unique(maintain_order=True).to_list())
    strange = sorted(set(rows["segment"].unique()) - set(segments))
    if strange:
        raise DataError(f"The file has segments that --segments does not name: {', '.join(strange)}.")
    _quarantine(run, pl.concat([run.spool.bad(), unknown]))
    if rows.is_empty():
        raise DataError("No row of the file is usable: look at segadmin data quarantine.")
    run.lake.replace_partition("labels", rows, "label_set", request.label_set)
    with transaction(run.settings) as session:
        session.merge(
            LabelSet(
                name=request.label_set,
                labeler="table",
                definition={"file": request.name, "sha256": run.record.sha256},
                segments=list(segments),
                rows=rows.height,
            )
        )


def _close(run: _Run, state: ImportState, error: str | None = None) -> Import:
    """End the import; what is in quarantine is counted in the lake, where an interrupted run may have put it."""
    record = run.record
    bad = run.lake.scan("quarantine").filter(pl.col("import_id") == record.id)
    record.state, record.error, record.finished_at = state, error, utcnow()
    record.reasons = dict(bad.group_by("reason").len().collect().iter_rows())
    record.rows_quarantined, record.rows_ignored = sum(record.reasons.values()), run.spool.ignored
    kept = record.rows_read - record.rows_quarantined - record.rows_ignored
    record.rows_kept = kept if state == ImportState.SUCCEEDED else 0
    record.warnings = [*run.warnings, *_word_warnings(run, bad)]
    if record.rows_read and record.reasons == {"duplicate_event": record.rows_read - record.rows_ignored}:
        record.warnings.append(ALL_KNOWN)
    record.changes = dict(run.spool.changes)
    if state == ImportState.SUCCEEDED:
        note_import(run.settings, record.finished_at)
    with transaction(run.settings) as session:
        return session.merge(record)


def _word_warnings(run: _Run, bad: pl.LazyFrame) -> list[str]:
    """Return what to add to the mapping for words that it does not know."""
    words = bad.filter(pl.col("reason") == "unknown_kind").group_by("value").len().collect()
    return [*unknown_kinds(dict(words.iter_rows())), *unknown_statuses(run.spool.statuses)]
