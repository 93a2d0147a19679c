"""Import of a file into the lake: at most once, atomic, and without losing rows.

The file is read, cleaned and spooled in chunks, then the spool is added to the lake in one commit. Readers never see
half an import, and an interrupted import resumes after its last chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import polars as pl

from segadmin.contracts.source import Source
from segadmin.errors import INTERRUPTS, DataError, SegadminError, did_you_mean
from segadmin.events.cells import readable
from segadmin.events.clean import Cleaned, clean, complete
from segadmin.events.fill_down import fill_of
from segadmin.events.ids import event_ids
from segadmin.events.import_commit import add_to_lake
from segadmin.events.import_record import begin_record, close_record, digest_of, queue_currency
from segadmin.events.import_request import ImportRequest, source_of
from segadmin.events.import_run import ImportRun
from segadmin.events.interrupted import INTERRUPTED
from segadmin.events.isolate import clean_each
from segadmin.events.keys import keys_of
from segadmin.events.mapping import REQUIRED
from segadmin.events.merge import complete_merges
from segadmin.events.number_columns import NumberColumns
from segadmin.events.vectors import check_vectors
from segadmin.names import check_names
from segadmin.settings import Settings
from segadmin.storage.import_lock import alone
from segadmin.storage.integrity import check_database
from segadmin.storage.label_sets import check_label_set
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, ImportState
from segadmin.storage.store import open_store

log = logging.getLogger(__name__)
#: Rows read, cleaned and spooled at a time; half as many where each is a Python object on its way.
CHUNK_ROWS = 500_000


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
    _check(settings, request)
    source = source_of(settings, request)
    request = request.with_vectors_of(source)
    check_vectors(request.table, request.mapping.vectors)
    identity = source.identity(request.place)
    with alone(settings):
        run, is_done = _begin(settings, request, source, digest_of(identity))
        if is_done:
            return run.record, False
        if run.is_in_the_lake:  # it was killed right after its last commit
            run.record.source_rows, run.record.rows_read = run.spool.rows, run.spool.events
        else:
            _read_into_lake(run, source, progress, can_resume=source.consumes or identity is not None)
        record = close_record(run, ImportState.SUCCEEDED)
        run.clear()
        return record, True


def _check(settings: Settings, request: ImportRequest) -> None:
    """Check the names in a request before its source is opened."""
    if request.table not in REQUIRED:
        raise DataError(f"There is no table {request.table!r} to import into.{did_you_mean(request.table, REQUIRED)}")
    if request.table == "labels":
        check_label_set(settings, request.label_set)
        check_names("segment", request.segments)


def _begin(settings: Settings, request: ImportRequest, source: Source, digest: str) -> tuple[ImportRun, bool]:
    """Return the import of a source, new or resumed, and whether there is nothing to do: its content is in the store.

    The caller holds :func:`segadmin.storage.import_lock.alone`.
    """
    buckets = open_store(settings).buckets
    lake = Lake.of(settings)
    complete_merges(settings, lake, buckets)
    numbers = NumberColumns(request.mapping, typed=source.typed, queue=source.consumes)
    if source.consumes:
        numbers.currency = queue_currency(settings, request.record_table, digest)
    record, is_done = begin_record(settings, request, digest, lake, consumes=source.consumes, currency=numbers.currency)
    log.info(
        "import left out, as its content is in the store" if is_done else "import begun",
        extra={"action": "import", "import_id": record.id, "table": record.table},
    )
    return ImportRun(settings, request, record, lake, buckets, source.consumes, numbers), is_done


def _read_into_lake(run: ImportRun, source: Source, progress: Callable[[int], None], *, can_resume: bool) -> None:
    """Spool the source and add the spool to the lake; an import that fails is recorded as failed.

    The spool stays if the same import can resume with it: ``can_resume`` is whether it can be recognized, and a
    corrected file or mapping has another spool; but events from a queue are only in this one.
    """
    run.clear_other_readings()
    try:
        _read(run, source, progress)
        check_database(run.settings)
        progress(run.record.source_rows)  # what was cancelled meanwhile adds nothing to the lake
        add_to_lake(run)
    except BaseException as error:  # also Ctrl-C and a panic of Polars: the record must not stay running
        if not can_resume or (isinstance(error, DataError) and not source.consumes):
            run.clear()
        close_record(run, ImportState.FAILED, _error_text(error))
        raise


def _error_text(error: BaseException) -> str:
    if isinstance(error, SegadminError):
        return str(error)
    return INTERRUPTED if isinstance(error, INTERRUPTS) else f"{type(error).__name__}: {error}"


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
