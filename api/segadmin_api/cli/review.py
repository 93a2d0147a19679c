"""``segadmin users review``: whom it pays most to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.counts import counted
from segadmin.settings import Settings, get_settings
from segadmin_api.cli.output import JsonOption, RawCells, echo, show_json, table
from segadmin_api.cli.remote import answer

if TYPE_CHECKING:
    import polars as pl

    from segadmin_api.client import Client

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
    from segadmin.snapshots.export import write

    snapshot, shown = answer(
        lambda settings: _review(settings, limit, labels, ignore_value=ignore_value, user_ids=with_user_ids),
        lambda client: _review_there(client, limit, labels, ignore_value=ignore_value, user_ids=with_user_ids),
    )
    if out is not None:
        count = write(get_settings(), shown.lazy(), out, raw_cells=raw_cells)
        echo(f"Wrote {counted(count, 'user')} of snapshot {snapshot} to {out}.")
        return
    listed = shown.to_dicts()
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


def _review(
    settings: Settings, limit: int, labels: str | None, *, ignore_value: bool, user_ids: bool
) -> tuple[int, pl.DataFrame]:
    """Return the number of the current snapshot, and whom it pays most to look at."""
    from segadmin.snapshots.export import with_user
    from segadmin.snapshots.read import find_snapshot
    from segadmin.snapshots.review import review as users_to_review
    from segadmin.storage.audit import record
    from segadmin.storage.database import reading

    with reading(settings) as session:
        snapshot = find_snapshot(session, "current", labels)
    rows = users_to_review(settings, snapshot, limit, by_value=not ignore_value).lazy()
    shown = with_user(settings, rows, raw=user_ids).select("user", *rows.collect_schema().names()[1:]).collect()
    record(settings, "users.review", f"snapshot {snapshot.id}", rows=shown.height, user_ids=user_ids)
    return snapshot.id or 0, shown


def _review_there(
    client: Client, limit: int, labels: str | None, *, ignore_value: bool, user_ids: bool
) -> tuple[int, pl.DataFrame]:
    """Return the same of a server."""
    import polars as pl

    to_review = client.list_review(labels=labels, limit=limit, ignore_value=ignore_value, user_ids=user_ids)
    users = [each.user if user_ids else each.user_key for each in to_review.items]
    rows = pl.DataFrame([each.model_dump(exclude={"user", "user_key"}) for each in to_review.items])
    return to_review.snapshot, rows.insert_column(0, pl.Series("user", users, pl.String))


def _rounded(value: float) -> str:
    """Return ``value`` with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
