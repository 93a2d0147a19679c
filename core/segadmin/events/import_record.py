"""The record of an import: created, or looked up for another attempt, at its begin; closed with counts at its end."""

from __future__ import annotations

import hashlib
import logging
import re
import uuid

import polars as pl
from sqlmodel import Session, col, func, select

from segadmin.events.advice import unknown_kinds, unknown_statuses
from segadmin.events.import_request import ImportRequest
from segadmin.events.import_run import ImportRun
from segadmin.events.inbox import INBOX
from segadmin.events.interrupted import note_interrupted
from segadmin.events.quarantine_users import kept_mapping
from segadmin.settings import Settings
from segadmin.storage.database import reading, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Import, ImportState, LabelSet, utcnow
from segadmin.storage.store import note_import

log = logging.getLogger(__name__)
ALL_KNOWN = "All of its events are in the store already."
_SHA256 = re.compile("[0-9a-f]{64}")


def digest_of(identity: str | None) -> str:
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
    return queue_currency(settings, "events", digest_of(INBOX))


def begin_record(
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
        record = previous
        if record is None or record.state == ImportState.SUCCEEDED:
            record = Import(id=number, table=request.record_table, file=request.name, sha256=digest)
        record.state, record.error, record.finished_at, record.rows_read = ImportState.RUNNING, None, None, 0
        record.mapping = kept_mapping(request.mapping, settings.secret())
        if request.mapping.currency is None and currency is not None:
            record.mapping["currency"] = currency
        session.add(record)
        session.flush()
        return record, False


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


def close_record(run: ImportRun, state: ImportState, error: str | None = None) -> Import:
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
