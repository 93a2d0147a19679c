"""What ``segadmin data import`` and ``preview`` print about an import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segadmin.counts import counted
from segadmin.settings import get_settings
from segadmin.storage.records import Import
from segadmin_api.cli.output import echo

if TYPE_CHECKING:
    from segadmin.events.mapping import Mapping


def report(record: Import, mapping: Mapping | None = None, *, fresh: bool) -> None:
    """Print what became of an import; with ``mapping``, also hints about it. Not ``fresh``: it was done before."""
    if not fresh:
        echo(f"{record.file} was imported before (import {record.id}); nothing to do. To force it: --again")
        return
    echo(
        f"{record.table}: {record.rows_kept:,} of {counted(record.rows_read, 'row')} kept from {record.file}."
        f"{note_several(record.source_rows, record.rows_read, record.table)}"
    )
    report_changes(record.changes)
    if record.rows_quarantined:
        echo(
            f"In quarantine: {counted(record.rows_quarantined, 'row')} ({_by_name(record.reasons)}). "
            f"Look: segadmin data quarantine --import {record.id}"
        )
    if record.rows_ignored:
        echo(f"Ignored, as the mapping says: {counted(record.rows_ignored, 'row')}.")
    _warn(record.warnings)
    if mapping is not None:
        from segadmin.events.hints import about_import

        for hint in about_import(get_settings(), record, mapping):
            echo(f"Note: {hint}")


def note_several(source_rows: int, rows: int, table: str) -> str:
    """Return a note if a row of the source holds several rows, else an empty string."""
    return "" if rows == source_rows else f" (Rows of the source: {source_rows:,}; {table} in them: {rows:,}.)"


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        echo(f"Note: {warning}")


def report_changes(changes: dict[str, int]) -> None:
    """Print what cleaning changed: rule → number of values."""
    if changes:
        echo(f"Fixed: {_by_name(changes)}")


def _by_name(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))
