"""``segadmin snapshots``: who is in which segment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.settings import get_settings
from segadmin.snapshots.read import NO_SNAPSHOTS, currents, find_snapshot, list_snapshots, summaries
from segadmin.storage.database import transaction
from segadmin.storage.records import ModelVersion, SegmentSnapshot, SegmentSummary
from segadmin_api.cli.output import JsonOption, RawCells, group, show_json, table
from segadmin_api.formatting import ago

app = group("Segments of all users, published and immutable.")
Number = Annotated[str, typer.Argument(metavar="ID", help="The snapshot's number, or `current`.")]
LabelSetOption = Annotated[str | None, typer.Option("--label-set", help="Where several label sets have a snapshot.")]
_BAR_WIDTH = 30


@app.command("list")
def list_(label_set: LabelSetOption = None, as_json: JsonOption = False) -> None:
    """List published snapshots, newest first."""
    with transaction(get_settings()) as session:
        found = list_snapshots(session, label_set)
        current = set(currents(session).values())
    if as_json:
        show_json([_facts(one) | {"current": one.id in current} for one in found])
        return
    table(
        "",
        [">id", "labels", "now", ">model", "as of", ">users", ">rescored", ">carried", ">moved", "published"],
        [
            (
                one.id,
                one.label_set,
                "✓" if one.id in current else "",
                one.model_version_id,
                f"{one.as_of:%Y-%m-%d}",
                *(f"{count:,}" for count in (one.users, one.rescored, one.carried, one.moved)),
                ago(one.published_at),
            )
            for one in found
        ],
        empty=NO_SNAPSHOTS,
    )


@app.command()
def show(number: Number = "current", label_set: LabelSetOption = None, as_json: JsonOption = False) -> None:
    """Show the segments of a snapshot: how large, how sure, and what their users go for."""
    with transaction(get_settings()) as session:
        snapshot = find_snapshot(session, number, label_set)
        segments = summaries(session, snapshot.id or 0)
    if as_json:
        rows = [one.model_dump(mode="json", exclude={"id", "snapshot_id"}) for one in segments]
        show_json(_facts(snapshot) | {"segments": rows})
        return
    _draw(snapshot, list(segments))


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to: FILE.csv, FILE.jsonl or FILE.parquet.")],
    number: Number = "current",
    segment: Annotated[str | None, typer.Option(help="Only users in this segment.")] = None,
    min_probability: Annotated[float, typer.Option(min=0, max=1, help="Only users who are in it so surely.")] = 0.0,
    with_user_ids: Annotated[
        bool, typer.Option("--with-user-ids", help="The shop's own ids; without it, pseudonyms.")
    ] = False,
    raw_cells: RawCells = False,
    label_set: LabelSetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write who is in which segment to a file, the surest first."""
    from segadmin.snapshots.export import Audience, audience, write
    from segadmin.storage.audit import record

    settings = get_settings()
    with transaction(settings) as session:
        snapshot = find_snapshot(session, number, label_set)
        segments = session.get_one(ModelVersion, snapshot.model_version_id).segments
    wanted = Audience(segment, min_probability, user_ids=with_user_ids)
    rows = write(settings, audience(settings, snapshot, segments, wanted), out, raw_cells=raw_cells)
    record(settings, "snapshots.export", f"snapshot {snapshot.id}", rows=rows, user_ids=with_user_ids)
    if as_json:
        show_json({"file": str(out), "rows": rows, "snapshot": snapshot.id})
        return
    typer.echo(f"Wrote {counted(rows, 'user')} of snapshot {snapshot.id} to {out}.")
    if not rows:
        typer.echo("Nobody fits: try a lower --min-probability, or see: segadmin snapshots show", err=True)


def _draw(snapshot: SegmentSnapshot, segments: list[SegmentSummary]) -> None:
    from rich import box
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(
        f"snapshot {snapshot.id} · {snapshot.label_set} · model {snapshot.model_version_id} · as of "
        f"{snapshot.as_of:%Y-%m-%d %H:%M} · {counted(snapshot.users, 'user')}",
        highlight=False,
    )
    if snapshot.previous_id is not None:
        console.print(
            f"since snapshot {snapshot.previous_id}: {snapshot.moved:,} moved, {snapshot.rescored:,} rescored, "
            f"{snapshot.carried:,} carried forward",
            highlight=False,
        )
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, justify in (("segment", "left"), ("users", "right"), ("share", "right"), ("", "left")):
        drawn.add_column(name, justify=justify)  # type: ignore[arg-type]
    drawn.add_column("confidence", justify="right")
    drawn.add_column("goes for (× all users' share)")
    for one in segments:
        drawn.add_row(
            Text(one.segment),
            f"{one.users:,}",
            f"{one.share:.1%}",
            Bar(1.0, 0.0, one.share, width=_BAR_WIDTH),
            f"{one.confidence:.2f}" if one.users else "–",
            Text(", ".join(f"{each['category']} ×{each['lift']:.1f}" for each in one.distinctive)),
        )
    console.print(drawn)


def _facts(snapshot: SegmentSnapshot) -> dict[str, Any]:
    return snapshot.model_dump(mode="json")
