"""``segadmin data quarantine``: the rows that could not be imported."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.counts import counted
from segadmin.settings import Settings, get_settings
from segadmin_api.cli.output import JsonOption, RawCells, UsageError, confirm, echo, nothing, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_import

if TYPE_CHECKING:
    import polars as pl

    from segadmin_api.client import Client


def quarantine(
    number: Annotated[int | None, typer.Option("--import", help="Only rows of this import.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only rows with this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Write all rows to this .csv, .jsonl or .parquet file, for correction.")
    ] = None,
    raw_cells: RawCells = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete these rows, after they were corrected and imported.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the rows that could not be imported, unchanged, with the reasons.

    To correct them: write them to a file (`--out`), correct the file, import it with the mapping of the first import,
    and delete them here (`--drop`). Imports ignore the columns of the file that begin with `quarantine:`.
    """
    from segadmin.events.import_records import find_import
    from segadmin.events.quarantine_reasons import explain

    if drop:
        if get_settings().server is not None and number is None:
            raise UsageError("On a server, rows of one import at a time are dropped. Name it: --import NUMBER")
        if number is not None:  # it may have no rows
            answer(lambda settings: find_import(settings, number), lambda client: as_import(client.show_import(number)))
        _drop(number, reason, lambda: _dropped(number, reason), yes=yes, as_json=as_json)
        return
    most = None if out is not None else limit
    rows, total = answer(
        lambda settings: _rows(settings, number, reason, most),
        lambda client: _rows_there(client, number, reason, most),
    )
    if out is not None:
        _write_quarantine(rows, out, raw_cells=raw_cells)
        return
    records = rows.to_dicts()
    if as_json:
        show_json(records)
        _note_more(limit, total)
        return
    table(
        "",
        [">import", ">line", "reason", "column", "value", "row"],
        [[row[name] for name in ("import_id", "line", "reason", "column", "value", "row")] for row in records],
        empty=nothing("Nothing is in quarantine.", import_=number, reason=reason),
    )
    for name in dict.fromkeys(row["reason"] for row in records):
        echo(f"{name}: {explain(name)}")
    _note_more(limit, total)


def _rows(settings: Settings, number: int | None, reason: str | None, most: int | None) -> tuple[pl.DataFrame, int]:
    """Return rows in quarantine, at most ``most``, and how many there are."""
    from segadmin.events.import_records import find_import
    from segadmin.events.quarantine import count_rows, find_rows
    from segadmin.storage.audit import record

    if number is not None:
        find_import(settings, number)
    record(settings, "data.quarantine", "all imports" if number is None else f"import {number}")
    matching = find_rows(settings, number, reason)
    rows = (matching if most is None else matching.limit(most)).collect()
    return rows, count_rows(settings, number, reason) if rows.height == most else rows.height


def _rows_there(client: Client, number: int | None, reason: str | None, most: int | None) -> tuple[pl.DataFrame, int]:
    """Return the same of a server."""
    import polars as pl

    if number is not None:
        client.show_import(number)  # it may have no rows
    items = client.items(client.list_quarantine, import_id=number, reason=reason)
    rows = pl.DataFrame([each.model_dump() for each in islice(items, most)], infer_schema_length=None)
    if rows.height != most:
        return rows, rows.height
    reasons = client.list_quarantine_reasons(import_id=number).items
    return rows, sum(each.rows for each in reasons if reason in {None, each.reason})


def _dropped(number: int | None, reason: str | None) -> int:
    """Delete rows, and return how many."""
    from segadmin.events.quarantine import drop_rows

    return answer(
        lambda settings: drop_rows(settings, number, reason),
        lambda client: client.drop_quarantine(number or 0, reason=reason).rows,
    )


def _note_more(shown: int, total: int) -> None:
    """Print on stderr how many rows were left out."""
    if total > shown:
        more = f"{counted(total - shown, 'more row')} of {total:,}"
        echo(f"{more} not shown. To see them: --limit {total}, or --out FILE.csv", err=True)


def _write_quarantine(rows: pl.DataFrame, out: Path, *, raw_cells: bool) -> None:
    from segadmin.events.quarantine import as_file
    from segadmin.snapshots.export import find_sink

    sink = find_sink(get_settings(), out)
    written = sink.write(as_file(rows, formulas=sink.formulas and not raw_cells).lazy(), out)
    echo(f"Wrote {counted(written, 'row')} to {out}.")
    if written:
        number, name = rows["import_id"][0], rows["table"][0]
        echo(
            f"Correct them there, and import the file with the mapping of import {number} (--mapping, --map, --set, "
            f"--timezone): segadmin data import {name} {out}"
        )
        echo(f"Then: segadmin data quarantine --import {number} --drop")


def _drop(number: int | None, reason: str | None, drop_rows: Callable[[], int], *, yes: bool, as_json: bool) -> None:
    conditions = [f"of import {number}"] if number is not None else []
    conditions += [f"with the reason {reason}"] if reason is not None else []
    if not yes:
        confirm(f"Permanently delete the rows {' '.join(conditions) or 'of all imports'} from quarantine?")
    rows = drop_rows()
    if as_json:
        show_json({"rows": rows})
    else:
        echo(f"Deleted {counted(rows, 'row')} from quarantine.")
