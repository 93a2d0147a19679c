"""Import of a file into the lake: at most once, atomic, and without losing rows.

The file is read, cleaned and spooled in chunks, then the spool is added to the lake in one commit. Readers never see
half an import, and an interrupted import resumes after its last chunk.
"""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import polars as pl
from sqlmodel import Session, col, func, select

from segadmin.contracts.source import Source
from segadmin.errors import INTERRUPTS, DataError, SegadminError, did_you_mean
from segadmin.events.advice import (
    unknown_kinds,
    unknown_statuses,
)
from segadmin.events.cells import readable
from segadmin.events.clean import Cleaned, clean, complete
from segadmin.events.fill_down import fill_of
from segadmin.events.ids import event_ids
from segadmin.events.import_commit import add_to_lake
from segadmin.events.import_request import ImportRequest, source_of
from segadmin.events.import_run import ImportRun
from segadmin.events.inbox import INBOX
from segadmin.events.interrupted import INTERRUPTED, note_interrupted
from segadmin.events.isolate import clean_each
from segadmin.events.keys import keys_of
from segadmin.events.mapping import REQUIRED
from segadmin.events.merge import complete_merges
from segadmin.events.number_columns import NumberColumns
from segadmin.events.quarantine_users import kept_mapping
from segadmin.events.vectors import check_vectors
from segadmin.names import check_names
from segadmin.settings import Settings
from segadmin.storage.database import reading, transaction
from segadmin.storage.import_lock import alone
from segadmin.storage.integrity import check_database
from segadmin.storage.label_sets import check_label_set
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, ImportState, LabelSet, utcnow
from segadmin.storage.store import note_import, open_store

log = logging.getLogger(__name__)
#: Rows read, cleaned and spooled at a time; half as many where each is a Python object on its way.
CHUNK_ROWS = 500_000
ALL_KNOWN = "All of its events are in the store already."
_SHA256 = re.compile("[0-9a-f]{64}")


def import_file(
    settings: Settings, request: ImportRequest, progress: Callable[[int], None] = lambda _: None
) -> tuple[Import, bool]:
    """Import a file and return its record, and whether anything was imported.

    A file whose content was imported before is skipped. An interrupted import resumes. Only one import at a time runs
    in a store; others wait.

    Args:
        settings: location of the store.
        request: what to import.
        progress: called with the number of rows read so far, at last before they are added to the lake; it stops the
            import by an exception.

    Raises:
        ConfigurationError: the time zone is unknown, or the settings differ from those of the store.
        DataError: the file cannot be read or lacks required columns, or a name is invalid. Nothing was added to the
            lake.
        StorageError: the store cannot be written. The same command resumes the import.
    """
    if request.table not in REQUIRED:
        raise DataError(f"There is no table {request.table!r} to import into.{did_you_mean(request.table, REQUIRED)}")
    if request.table == "labels":
        check_label_set(settings, request.label_set)
        check_names("segment", request.segments)
    source = source_of(settings, request)
    request = request.with_vectors_of(source)
    check_vectors(request.table, request.mapping.vectors)
    identity = source.identity(request.place)
    with alone(settings):
        buckets = open_store(settings).buckets
        lake = Lake.of(settings)
        complete_merges(settings, lake, buckets)
        digest = _digest(identity)
        numbers = NumberColumns(request.mapping, typed=source.typed, queue=source.consumes)
        if source.consumes:
            numbers.currency = queue_currency(settings, request.record_table, digest)
        record, done = _record(settings, request, digest, lake, consumes=source.consumes, currency=numbers.currency)
        facts = {"import_id": record.id, "table": record.table}
        if done:
            log.info("import left out, as its content is in the store", extra={"action": "import", **facts})
            return record, False
        log.info("import begun", extra={"action": "import", **facts})
        run = ImportRun(settings, request, record, lake, buckets, source.consumes, numbers)
        if run.is_in_the_lake:  # it was killed right after its last commit
            record.source_rows, record.rows_read = run.spool.rows, run.spool.events
            record = _close(run, ImportState.SUCCEEDED)
            run.clear()
            return record, True
        run.clear_other_readings()
        try:
            _read(run, source, progress)
            check_database(settings)
            progress(record.source_rows)  # what was cancelled meanwhile adds nothing to the lake
            add_to_lake(run)
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


def queue_currency(settings: Settings, table: str, digest: str) -> str | None:
    """Return the currency of what was read from a queue before; ``None`` if there were no prices with one.

    Args:
        settings: location of the store.
        table: as in the records of imports.
        digest: of the queue's identity.
    """
    queue = select(Import.mapping).where(Import.table == table, Import.sha256 == digest)
    with reading(settings) as session:
        mapping = session.exec(queue.order_by(col(Import.id).desc()).limit(1)).first()
    return (mapping or {}).get("currency")


def inbox_currency(settings: Settings) -> str | None:
    """Return the currency of the events that were posted before; see :func:`queue_currency`."""
    return queue_currency(settings, "events", _digest(INBOX))


def _error_text(error: BaseException) -> str:
    if isinstance(error, SegadminError):
        return str(error)
    return INTERRUPTED if isinstance(error, INTERRUPTS) else f"{type(error).__name__}: {error}"


def _record(
    settings: Settings, request: ImportRequest, digest: str, lake: Lake, *, consumes: bool, currency: str | None
) -> tuple[Import, bool]:
    """Return this file's import, the previous one if it succeeded or can resume, and whether it is complete."""
    number = _next_number(settings, lake)
    with transaction(settings) as session:
        note_interrupted(session)
        previous = session.exec(
            select(Import)
            .where(Import.table == request.record_table, Import.sha256 == digest)
            .order_by(Import.id.desc())  # type: ignore[union-attr]
        ).first()
        if (
            previous is not None
            and previous.state == ImportState.SUCCEEDED
            and not (request.again or consumes)
            and _is_current(session, request, digest)
        ):
            return previous, True
        if previous is None or previous.state == ImportState.SUCCEEDED:
            previous = Import(id=number, table=request.record_table, file=request.name, sha256=digest)
        previous.state, previous.error, previous.finished_at, previous.rows_read = ImportState.RUNNING, None, None, 0
        previous.mapping = kept_mapping(request.mapping, settings.secret())
        if request.mapping.currency is None and currency is not None:
            previous.mapping["currency"] = currency
        session.add(previous)
        session.flush()
        return previous, False


def _next_number(settings: Settings, lake: Lake) -> int:
    """Return an unused import number, also above those in the quarantine: a restored database may lack imports."""
    with transaction(settings) as session:
        last_number = session.exec(select(func.max(Import.id))).one() or 0
    last_in_quarantine = lake.scan("quarantine").select(pl.col("import_id").max()).collect().item() or 0
    return max(last_number, last_in_quarantine) + 1


def _is_current(session: Session, request: ImportRequest, digest: str) -> bool:
    """Whether the file's data is still in the lake: a label set may have been replaced, or its order changed."""
    if request.table != "labels":
        return True
    label_set = session.get(LabelSet, request.label_set)
    if label_set is None or label_set.definition.get("sha256") != digest:
        return False
    return not request.segments or list(request.segments) == label_set.segments


def _read(run: ImportRun, source: Source, progress: Callable[[int], None]) -> None:
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
            raw = readable(new_rows, lists=run.request.mapping.vectors.values())
            if source.consumes:
                raw = complete(raw, run.request.table, run.request.mapping)
            first_line = source.first_line + rows_read + chunk.height - new_rows.height
            cleaned = _cleaned(run, raw, first_line) if not source.consumes else _cleaned_each(run, raw, first_line)
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


def _decide_numbers(run: ImportRun) -> None:
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


def _cleaned(run: ImportRun, raw: pl.DataFrame, first_line: int) -> Cleaned:
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


def _cleaned_each(run: ImportRun, raw: pl.DataFrame, first_line: int) -> Cleaned:
    table, mapping = run.request.table, run.request.mapping
    return clean_each(raw, first_line, lambda rows, first: _cleaned(run, complete(rows, table, mapping), first))


def _close(run: ImportRun, state: ImportState, error: str | None = None) -> Import:
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
    if run.consumes and run.request.mapping.currency is None:
        record.mapping = record.mapping | {"currency": run.numbers.currency}
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


def _word_warnings(run: ImportRun, bad: pl.LazyFrame) -> list[str]:
    """Return warnings about kinds and statuses that the mapping does not define."""
    words = bad.filter(pl.col("reason") == "unknown_kind").group_by("value").len().collect()
    return [*unknown_kinds(dict(words.iter_rows())), *unknown_statuses(run.spool.statuses)]
