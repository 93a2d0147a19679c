"""``segadmin users review``: whom it pays most to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segadmin.counts import counted
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, RawCells, echo, show_json, table

_MAX_LIMIT = 100_000


def review(
    limit: Annotated[int, typer.Option("--limit", min=1, max=_MAX_LIMIT, help="Maximum number of users.")] = 20,
    labels: Annotated[
        str | None, typer.Option("--labels", "--label-set", help="Label set; needed if several have a snapshot.")
    ] = None,
    ignore_value: Annotated[
        bool, typer.Option("--ignore-value", help="By uncertainty alone: all users are worth the same.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the users to FILE.csv, .jsonl or .parquet.")
    ] = None,
    with_user_ids: Annotated[
        bool, typer.Option("--with-user-ids", help="The user ids of the shop instead of pseudonyms.")
    ] = False,
    raw_cells: RawCells = False,
    as_json: JsonOption = False,
) -> None:
    """List whom it pays most to look at and to correct: the model is unsure, and they spend much."""
    from segadmin.snapshots.export import with_user, write
    from segadmin.snapshots.read import find_snapshot
    from segadmin.snapshots.review import review as users_to_review
    from segadmin.storage.audit import record
    from segadmin.storage.database import reading

    settings = get_settings()
    with reading(settings) as session:
        snapshot = find_snapshot(session, "current", labels)
    rows = users_to_review(settings, snapshot, limit, by_value=not ignore_value).lazy()
    shown = with_user(settings, rows, raw=with_user_ids).select("user", *rows.collect_schema().names()[1:])
    if out is not None:
        count = write(settings, shown, out, raw_cells=raw_cells)
        record(settings, "users.review", f"snapshot {snapshot.id}", rows=count, user_ids=with_user_ids)
        echo(f"Wrote {counted(count, 'user')} of snapshot {snapshot.id} to {out}.")
        return
    listed = shown.collect().to_dicts()
    record(settings, "users.review", f"snapshot {snapshot.id}", rows=len(listed), user_ids=with_user_ids)
    if as_json:
        show_json(listed)
        return
    table(
        "",
        ["user", "by the model", "or", ">uncertainty", ">value", ">priority"],
        [
            (
                row["user"],
                f"{row['segment']} {row['probability']:.2f}",
                f"{row['second']} {row['second_probability']:.2f}",
                *(f"{row['uncertainty']:.2f}", _rounded(row["value"]), _rounded(row["priority"])),
            )
            for row in listed
        ],
        empty="Nobody is left to look at: every user is corrected. See: segadmin users corrections",
    )
    if listed:
        echo("Correct one: segadmin users correct USER --segment SEGMENT --reason REASON")


def _rounded(value: float) -> str:
    """Return ``value`` with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
