"""Import of a file into the lake: at most once, atomic, and without losing rows.

The file is read, cleaned and spooled in chunks, then the spool is added to the lake in one commit. Readers never see
half an import, and an interrupted import resumes after its last chunk.
"""

from __future__ import annotations

import hashlib
import logging
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

log = logging.getLogger(__name__)
#: Rows read, cleaned and spooled at a time; half as many where each is a Python object on its way.
CHUNK_ROWS = 500_000
ALL_KNOWN = "All of its events are in the store already."
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Request:
    """An import: the data, its format and its mapping."""

    table: str  #: events, items or labels
    where: str  #: a path, or the URL for a source
    mapping: Mapping = field(default_factory=Mapping)
    source: str | None = None  #: default: by the file's suffix, or the URL's scheme
    options: dict[str, Any] = field(default_factory=dict)  #: options of the source
    again: bool = False  #: import even if the same file was imported before
    label_set: str = ""  #: for labels
    segments: tuple[str, ...] = ()  #: for labels: their order; default: order of appearance

    @property
    def name(self) -> str:
        """The file's base name, or the URL without its password."""
        path = local_path(self.where)
        return mask_url(self.where) if path is None else path.absolute().name

    @property
    def place(self) -> str:
        """:attr:`where` for sources: a path, also for a ``file://`` URL, or a URL."""
        path = local_path(self.where)
        return self.where if path is None else str(path)

    @property
    def reading(self) -> str:
        """A digest of source, options and mapping, because commits with another mapping belong to another import."""
        text = f"{self.source} {sorted(self.options.items())} {self.mapping.model_dump_json()}"
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


@dataclass
class _Run:
    """The state of a running import."""

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

        It contains the start time, because a restored or new database may assign a number that the lake already has,
        and the digest of a queue never changes.
        """
        started = f"{self.record.created_at:%Y%m%dT%H%M%S}"
        return f"import-{started}-{self.record.id}-{self.record.sha256[:16]}-{self.request.reading}"

    @property
    def is_in_the_lake(self) -> bool:
        """Whether an interrupted run of this import already made its last commit."""
        return self.request.table == "events" and self.lake.last_version("events", self.app) is not None

    @property
    def spool(self) -> Spool:
        """The chunks read so far, which an import of the same content with the same mapping finds again."""
        reading = FROM_QUEUE if self.consumes else self.request.reading
        content = content_name(self.record.sha256, _table(self.request))
        return Spool(spool_folder(self.settings) / content / reading)

    def clear_other_readings(self) -> None:
        """Remove spools of the same content with other mappings: the record only has the current mapping."""
        for folder in self.spool.folder.parent.glob("*"):
            if folder != self.spool.folder:
                shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove all spools of this content."""
        shutil.rmtree(self.spool.folder.parent, ignore_errors=True)


def import_file(
    settings: Settings, request: Request, progress: Callable[[int], None] = lambda _: None
) -> tuple[Import, bool]:
    """Import a file and return its record, and whether anything was imported.

    A file whose content was imported before is skipped. An interrupted import resumes. Only one import at a time runs
    in a store; others wait.

    Args:
        settings: location of the store.
        request: what to import.
        progress: called with the number of rows read so far.

    Raises:
        ConfigurationError: the time zone is unknown, or the settings differ from those of the store.
        DataError: the file cannot be read or lacks required columns, or a name is invalid. Nothing was added to the
            lake.
        StorageError: the store cannot be written. The same command resumes the import.
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
        facts = {"import_id": record.id, "table": record.table}
        if done:
            log.info("import left out, as its content is in the store", extra={"action": "import", **facts})
            return record, False
        log.info("import begun", extra={"action": "import", **facts})
        numbers = NumberColumns(request.mapping, typed=source.typed, whole=not source.consumes)
        run = _Run(settings, request, record, lake, buckets, source.consumes, numbers)
        if run.is_in_the_lake:  # it was killed right after its last commit
            record.source_rows, record.rows_read = run.spool.rows, run.spool.events
            record = _close(run, ImportState.SUCCEEDED)
            run.clear()
            return record, True
        run.clear_other_readings()
        try:
            _read(run, source, progress)
            _settle(run)
        except BaseException as error:  # also Ctrl-C and a panic of Polars: the record must not stay running
            # A corrected file or mapping has another spool; but events from a queue are only in this one.
            if not source.consumes and (isinstance(error, DataError) or identity is None):
                run.clear()
            _close(run, ImportState.FAILED, _error_text(error))
            raise
        record = _close(run, ImportState.SUCCEEDED)
        run.clear()
        return record, True


def _digest(identity: str | None) -> str:
    """Return the digest that identifies an import: the source's identity if it is a SHA-256, else its SHA-256."""
    if identity is None:
        return hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    return identity if _SHA256.fullmatch(identity) else hashlib.sha256(identity.encode()).hexdigest()


def _error_text(error: BaseException) -> str:
    if isinstance(error, SegadminError):
        return str(error)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def source_of(settings: Settings, request: Request) -> Source:
    """Return the source for the request: the one it names, else the one for its suffix or URL.

    Raises:
        ConfigurationError: an option is unknown.
        DataError: the source cannot be determined.
    """
    # A client would quote parts of a malformed URL in its messages.
    if local_path(request.where) is None and (problem := url_problem(request.where)):
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
    source: Source = plugins.make("source", name, options | request.options)
    return source


def _record(settings: Settings, request: Request, digest: str, lake: Lake, *, consumes: bool) -> tuple[Import, bool]:
    """Return this file's import, the previous one if it succeeded or can resume, and whether it is complete."""
    number = _next_number(settings, lake)
    with transaction(settings) as session:
        note_interrupted(session)
        previous = session.exec(
            select(Import).where(Import.table == _table(request), Import.sha256 == digest).order_by(Import.id.desc())  # type: ignore[union-attr]
        ).first()
        if (
            previous is not None
            and previous.state == ImportState.SUCCEEDED
            and not (request.again or consumes)
            and _is_current(session, request, digest)
        ):
            return previous, True
        if previous is None or previous.state == ImportState.SUCCEEDED:
            previous = Import(id=number, table=_table(request), file=request.name, sha256=digest)
        previous.state, previous.error, previous.finished_at, previous.rows_read = ImportState.RUNNING, None, None, 0
        previous.mapping = kept_mapping(request.mapping, settings.secret())
        session.add(previous)
        session.flush()
        return previous, False


def _next_number(settings: Settings, lake: Lake) -> int:
    """Return an unused import number, also above those in the quarantine: a restored database may lack imports."""
    with transaction(settings) as session:
        last_number = session.exec(select(func.max(Import.id))).one() or 0
    last_in_quarantine = lake.scan("quarantine").select(pl.col("import_id").max()).collect().item() or 0
    return max(last_number, last_in_quarantine) + 1


def _is_current(session: Session, request: Request, digest: str) -> bool:
    """Whether the file's data is still in the lake: a label set may have been replaced, or its order changed."""
    if request.table != "labels":
        return True
    label_set = session.get(LabelSet, request.label_set)
    if label_set is None or label_set.definition.get("sha256") != digest:
        return False
    return not request.segments or list(request.segments) == label_set.segments


def _table(request: Request) -> str:
    return f"labels:{request.label_set}" if request.table == "labels" else request.table


def _read(run: _Run, source: Source, progress: Callable[[int], None]) -> None:
    """Spool the file, except rows that an interrupted run of this import already spooled."""
    spooled_rows = run.spool.rows
    for facts in run.spool.numbers:
        run.numbers.open_chunk(facts)
    rows_read, events = spooled_rows if source.consumes else 0, run.spool.events
    run.record.source_rows, run.record.rows_read = rows_read, events
    fill_down = fill_of(run.request.mapping)
    chunk_rows = CHUNK_ROWS if source.columnar else max(1, CHUNK_ROWS // 2)

    def spool_chunk(chunk: pl.DataFrame) -> None:
        nonlocal events
        new_rows = fill_down(chunk)[max(0, spooled_rows - rows_read) :]
        if new_rows.height:
            raw = readable(new_rows)
            if source.consumes:
                raw = complete(raw, run.request.table, run.request.mapping)
            first_line = source.first_line + rows_read + chunk.height - new_rows.height
            cleaned = _cleaned(run, raw, first_line)
            run.spool.add(raw, cleaned, first_line)
            events += cleaned.read

    for chunk in _consume(source.chunks(run.request.place, chunk_rows), spool_chunk, reports_errors=source.sets_aside):
        rows_read += chunk.height
        run.record.source_rows, run.record.rows_read = rows_read, events
        progress(rows_read)
    if rows_read == 0 and not source.consumes:
        raise DataError(f"{run.request.place} has no rows.")
    _decide_numbers(run)


def _consume(
    chunks: Iterator[pl.DataFrame], keep: Callable[[pl.DataFrame], None], *, reports_errors: bool
) -> Iterator[pl.DataFrame]:
    """Pass each chunk to ``keep`` and yield it; with ``reports_errors``, raise errors of ``keep`` in the source."""
    try:
        chunk = next(chunks, None)
        while chunk is not None:
            try:
                keep(chunk)
            except (Exception, pl.exceptions.PanicException) as error:
                if not reports_errors:
                    raise
                chunk = _throw(chunks, error)
            else:
                yield chunk
                chunk = next(chunks, None)
    finally:
        if isinstance(chunks, Generator):
            chunks.close()


def _throw(chunks: Iterator[pl.DataFrame], error: BaseException) -> pl.DataFrame | None:
    """Raise ``error`` in the source's generator, and return the next chunk if the source handles it."""
    assert isinstance(chunks, Generator)
    try:
        chunk: pl.DataFrame = chunks.throw(error)
    except StopIteration:
        return None
    return chunk


def _decide_numbers(run: _Run) -> None:
    """Clean chunks again whose number format turned out to be different after the complete file was read.

    Raises:
        DataError: it is ambiguous whether a comma is the decimal sign.
    """
    stale = [index for index, facts in enumerate(run.spool.numbers) if run.numbers.is_stale(facts)]
    while stale:
        for index in stale:
            run.spool.read_again(index, lambda raw, first_line: _cleaned(run, raw, first_line))
        stale = [index for index, facts in enumerate(run.spool.numbers) if run.numbers.is_stale(facts)]
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
    """Add the spool to the lake; the last commit completes it, so that an interrupted import can detect it."""
    lake, app = run.lake, run.app
    if run.spool.chunks == 0:  # a stream without new entries
        return
    if run.request.table == "events":
        commit = Commit(app, 1)
        # An import that was killed between its two commits has written its users. Some may have been erased since, and
        # a queue may have added others, so missing users get a commit of their own.
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
        imported = run.spool.good().select(SCHEMAS["items"].names()).collect()
        items = pl.concat([lake.scan("items").collect(), imported]).unique("item", keep="last", maintain_order=True)
        lake.overwrite("items", items)
    else:
        _replace_labels(run)


def _quarantine(run: _Run, bad: pl.DataFrame) -> None:
    """Write the unusable rows, unchanged, to quarantine; they replace those of earlier imports of the same file."""
    earlier = [] if run.consumes else _earlier(run)
    numbers = [run.record.id, *earlier]
    run.lake.delete("quarantine", f"import_id IN ({', '.join(map(str, numbers))})")
    if bad.is_empty():
        return
    columns = {"import_id": pl.lit(run.record.id), "table": pl.lit(run.request.table)}
    run.lake.append("quarantine", run.spool.as_they_came(bad).with_columns(**columns))


def _earlier(run: _Run) -> list[int]:
    """Return earlier imports of the same file with rows in quarantine, and warn that this import replaces them."""
    with transaction(run.settings) as session:
        is_same_file = (
            Import.table == run.record.table,
            Import.sha256 == run.record.sha256,
            Import.id != run.record.id,
        )
        numbers = session.exec(select(Import.id).where(*is_same_file)).all()
    if not numbers:
        return []
    earlier_rows = run.lake.scan("quarantine").filter(pl.col("import_id").is_in(numbers))
    rows = earlier_rows.group_by("import_id").len().sort("import_id").collect()
    run.warnings += [replaced_rows(number, count) for number, count in rows.iter_rows()]
    return rows["import_id"].to_list()


def _replace_labels(run: _Run) -> None:
    """Replace the label set by the file's rows in one commit."""
    request = run.request
    known_users = run.lake.scan("users").select("user_key", known=pl.lit(value=True))
    rows = run.spool.good().join(known_users, on="user_key", how="left", maintain_order="left").sort("line").collect()
    unknown = rows.filter(pl.col("known").is_null()).select(
        "line", reason=pl.lit("unknown_user"), column=pl.lit("user"), value=pl.lit(None, pl.String)
    )
    names = rows["segment"].unique(maintain_order=True).to_list()
    check_names("segment", names)
    run.warnings += segment_names(names)
    rows = rows.filter(pl.col("known").is_not_null()).with_columns(label_set=pl.lit(request.label_set))
    by_time = rows.group_by("user_key", "as_of").agg(pl.col("segment").n_unique())
    run.warnings += several_segments(by_time.filter(pl.col("segment") > 1)["user_key"].n_unique())
    segments = request.segments or tuple(rows["segment"].unique(maintain_order=True).to_list())
    unexpected = sorted(set(rows["segment"].unique()) - set(segments))
    if unexpected:
        raise DataError(f"The file has segments that --segments does not name: {', '.join(unexpected)}.")
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
    """End the import; quarantined rows are counted in the lake, because an interrupted run may have written some."""
    record = run.record
    bad = run.lake.scan("quarantine").filter(pl.col("import_id") == record.id)
    record.state, record.error, record.finished_at = state, error, utcnow()
    record.reasons = dict(bad.group_by("reason").len().collect().iter_rows())
    record.rows_quarantined, record.rows_ignored = sum(record.reasons.values()), run.spool.ignored
    rows_kept = record.rows_read - record.rows_quarantined - record.rows_ignored
    record.rows_kept = rows_kept if state == ImportState.SUCCEEDED else 0
    record.warnings = [*run.warnings, *_word_warnings(run, bad)]
    if record.rows_read and record.reasons == {"duplicate_event": record.rows_read - record.rows_ignored}:
        record.warnings.append(ALL_KNOWN)
    record.changes = dict(run.spool.changes)
    if state == ImportState.SUCCEEDED:
        note_import(run.settings, record.finished_at)
    with transaction(run.settings) as session:
        merged = session.merge(record)
    _log_end(merged)
    return merged


def _log_end(record: Import) -> None:
    counts = {"rows": record.rows_read, "kept": record.rows_kept, "quarantined": record.rows_quarantined}
    facts = {"action": "import", "import_id": record.id, "table": record.table, "state": record.state, **counts}
    log.info("import ended", extra=facts)


def _word_warnings(run: _Run, bad: pl.LazyFrame) -> list[str]:
    """Return warnings about kinds and statuses that the mapping does not define."""
    words = bad.filter(pl.col("reason") == "unknown_kind").group_by("value").len().collect()
    return [*unknown_kinds(dict(words.iter_rows())), *unknown_statuses(run.spool.statuses)]
