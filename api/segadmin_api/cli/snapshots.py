"""``segadmin snapshots``: the segments of all users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlmodel import select

from segadmin.counts import counted
from segadmin.errors import SnapshotNotFound
from segadmin.settings import Settings
from segadmin.snapshots.read import (
    NO_SNAPSHOTS,
    currents,
    find_snapshot,
    list_snapshots,
    snapshot_at,
    summaries,
    went_back_from,
)
from segadmin.storage.database import transaction
from segadmin.storage.records import DriftReport, ModelVersion, SegmentSnapshot, SegmentSummary
from segadmin_api.cli.drift import drift_line
from segadmin_api.cli.output import (
    AtOption,
    JsonOption,
    RawCells,
    UsageError,
    echo,
    group,
    nothing,
    show_json,
    table,
    terminal,
)
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_export import save_export
from segadmin_api.cli.remote_records import as_record, as_snapshot, as_summaries
from segadmin_api.formatting import ago
from segadmin_api.freshness_words import freshness_line, seconds
from segadmin_api.results import went_back_sentence

if TYPE_CHECKING:
    from rich.table import Table

    from segadmin_api.client import Client

app = group("Segments of all users, published and immutable.")
Number = Annotated[str, typer.Argument(metavar="ID", help="The snapshot's number, or `current`.")]
LabelSetOption = Annotated[
    str | None, typer.Option("--label-set", "--labels", help="The label set; needed if several have a snapshot.")
]
UserIdsOption = Annotated[
    bool, typer.Option("--with-user-ids", help="Write the user ids of the shop instead of pseudonyms.")
]
_BAR_WIDTH = 30


@app.command("list")
def list_(label_set: LabelSetOption = None, as_json: JsonOption = False) -> None:
    """List published snapshots, newest first."""
    snapshots = answer(
        lambda settings: _list(settings, label_set),
        lambda client: [
            (as_snapshot(item), item.current) for item in client.items(client.list_snapshots, labels=label_set)
        ],
    )
    if as_json:
        show_json([_facts(snapshot) | {"current": current} for snapshot, current in snapshots])
        return
    table(
        "",
        [
            ">id",
            "labels",
            "now",
            ">model",
            "as of",
            ">users",
            ">scored",
            ">moved",
            ">fresh (p95)",
            ">age",
        ],
        [
            (
                snapshot.id,
                snapshot.label_set,
                "✓" if current else "",
                snapshot.model_version_id,
                f"{snapshot.as_of:%Y-%m-%d}",
                *(f"{count:,}" for count in (snapshot.users, snapshot.rescored, snapshot.moved)),
                seconds(snapshot.freshness.get("p95")),
                ago(snapshot.published_at).removesuffix(" ago"),
            )
            for snapshot, current in snapshots
        ],
        empty=nothing(NO_SNAPSHOTS, label_set=label_set),
    )


def _list(settings: Settings, label_set: str | None) -> list[tuple[SegmentSnapshot, bool]]:
    """Return the published snapshots, newest first, and whether each is current."""
    with transaction(settings) as session:
        current = {*currents(session).values()}
        return [(snapshot, snapshot.id in current) for snapshot in list_snapshots(session, label_set)]


@app.command()
def show(
    number: Number = "current", at: AtOption = None, label_set: LabelSetOption = None, as_json: JsonOption = False
) -> None:
    """Show the segments of a snapshot: size, confidence, and distinctive categories."""
    if at is not None and number != "current":
        raise UsageError(f"Give the number {number} or --at, not both.")
    snapshot, segments, report, before = answer(
        lambda settings: _find(settings, number, at, label_set),
        lambda client: _find_there(client, number, at, label_set),
    )
    if as_json:
        rows = [summary.model_dump(mode="json", exclude={"id", "snapshot_id"}) for summary in segments]
        drift = report and {name: getattr(report, name) for name in ("reference_id", "drifted", "alarms", "estimate")}
        moment = before and before.isoformat()
        show_json(_facts(snapshot) | {"went_back_from": moment, "segments": rows, "drift": drift})
        return
    _print_segments(snapshot, list(segments), report, before)


Found = tuple[SegmentSnapshot, Sequence[SegmentSummary], DriftReport | None, datetime | None]


def _find(settings: Settings, number: str, at: datetime | None, label_set: str | None) -> Found:
    """Return a snapshot, its segments, its drift report, and from when it went back."""
    with transaction(settings) as session:
        snapshot = find_snapshot(session, number, label_set) if at is None else snapshot_at(session, at, label_set)
        report = session.exec(select(DriftReport).where(DriftReport.snapshot_id == snapshot.id)).first()
        return snapshot, summaries(session, snapshot.id or 0), report, went_back_from(session, snapshot)


def _find_there(client: Client, number: str, at: datetime | None, label_set: str | None) -> Found:
    details = client.show_snapshot(number, labels=label_set, at=at)
    try:
        report = as_record(DriftReport, client.show_drift(details.id))
    except SnapshotNotFound:  # it has no report
        report = None
    return as_snapshot(details), as_summaries(details), report, details.went_back_from


@app.command("diff")
def diff_(
    earlier: Annotated[
        str | None,
        typer.Argument(metavar="A", help="The earlier snapshot; default: the one that was current before B."),
    ] = None,
    later: Annotated[str, typer.Argument(metavar="B", help="The later snapshot's number, or `current`.")] = "current",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write who moved to FILE.csv, .jsonl or .parquet.")
    ] = None,
    before: Annotated[
        str | None, typer.Option("--from", help="With --out: only users who were in this segment, or `new`.")
    ] = None,
    after: Annotated[
        str | None, typer.Option("--to", help="With --out: only users who are in this segment, or `left`.")
    ] = None,
    with_user_ids: UserIdsOption = False,
    raw_cells: RawCells = False,
    label_set: LabelSetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who moved between two snapshots, and why."""
    from segadmin_api.cli.snapshot_diff import difference, export_moved, print_diff

    if out is None and (before is not None or after is not None):
        raise UsageError("--from and --to choose which users are written. Name the file: --out moved.csv")
    compared = answer(
        lambda settings: difference(settings, earlier, later, label_set),
        lambda client: client.compare_snapshots(later, earlier=earlier, labels=label_set),
    )
    if out is not None:
        form = {"with_user_ids": with_user_ids, "raw_cells": raw_cells}
        rows = answer(
            lambda settings: export_moved(settings, compared, out, (before, after), **form),
            lambda client: save_export(
                client, out, compared.later, moved_since=compared.earlier, before=before, after=after, **form
            ),
        )
        echo(f"Wrote {counted(rows, 'user')} to {out}.")
    elif as_json:
        show_json(compared.model_dump(mode="json"))
    else:
        print_diff(compared)


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: FILE.csv, FILE.jsonl or FILE.parquet.")],
    number: Number = "current",
    segment: Annotated[str | None, typer.Option(help="Only users in this segment.")] = None,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Only users whose probability of their segment is at least this.")
    ] = 0.0,
    with_user_ids: UserIdsOption = False,
    raw_cells: RawCells = False,
    label_set: LabelSetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write users and their segments to a file, the most probable first."""
    from segadmin.snapshots.export import Audience, audience, write
    from segadmin.storage.audit import record

    def here(settings: Settings) -> tuple[int, int]:
        with transaction(settings) as session:
            snapshot = find_snapshot(session, number, label_set)
            segments = session.get_one(ModelVersion, snapshot.model_version_id).segments
        selection = Audience(segment, min_probability, user_ids=with_user_ids)
        rows = write(settings, audience(settings, snapshot, segments, selection), out, raw_cells=raw_cells)
        record(settings, "snapshots.export", f"snapshot {snapshot.id}", rows=rows, user_ids=with_user_ids)
        return snapshot.id or 0, rows

    def there(client: Client) -> tuple[int, int]:
        snapshot = client.show_snapshot(number, labels=label_set).id
        form = {"with_user_ids": with_user_ids, "raw_cells": raw_cells}
        chosen = {"segment": segment, "min_probability": min_probability}
        return snapshot, save_export(client, out, snapshot, **chosen, **form)

    snapshot, rows = answer(here, there)
    if as_json:
        show_json({"file": str(out), "rows": rows, "snapshot": snapshot})
        return
    echo(f"Wrote {counted(rows, 'user')} of snapshot {snapshot} to {out}.")
    if not rows:
        echo("No user matches: try a lower --min-probability, or see: segadmin snapshots show", err=True)


#: Why engines are left aside without a fault.
_USUAL = ("it is slower", "too few texts to try it")


def inference_words(facts: Mapping[str, Any]) -> str:
    """Return a sentence about how probabilities were computed."""
    words = []
    if facts.get("engine"):
        words.append(f"computed by {facts['engine']} in {facts['precision']} on {facts['device']}")
    if "agreement" in facts:
        words.append(
            f"in a sample, {facts['agreement']:.1%} of the segments are those of float32; probabilities differ by up "
            f"to {facts['difference']:.4f}"
        )
    # Engines that failed or differ; that one is slower, or not worth a trial, is the usual case.
    words += [f"left aside: {why}" for why in facts.get("left_aside", ()) if not why.endswith(_USUAL)]
    if "language_model_fraction" in facts:
        words.append(f"the language model read {facts['language_model_fraction']:.1%} of the users")
    return "; ".join(words)


def _print_segments(
    snapshot: SegmentSnapshot, segments: list[SegmentSummary], report: DriftReport | None, before: datetime | None
) -> None:
    _print_facts(snapshot, before)
    if report is not None:
        terminal().print(drift_line(report), highlight=False, markup=False)
    terminal().print(_segment_table(segments))


def _print_facts(snapshot: SegmentSnapshot, before: datetime | None) -> None:
    """Print which snapshot it is, what changed since the one before, and how it was computed."""
    console = terminal()
    console.print(
        f"snapshot {snapshot.id} · {snapshot.label_set} · model {snapshot.model_version_id} · as of "
        f"{snapshot.as_of:%Y-%m-%d %H:%M} · {counted(snapshot.users, 'user')}",
        highlight=False,
    )
    if before is not None:
        console.print(f"[yellow]{went_back_sentence(snapshot.as_of, before)}[/]", highlight=False)
    if snapshot.canary_id is not None:
        console.print("some users were scored by a canary: segadmin models canary list", highlight=False)
    if snapshot.previous_id is not None:
        causes = ", ".join(f"{count:,} {cause}" for cause, count in snapshot.rescored_by.items())
        console.print(
            f"since snapshot {snapshot.previous_id}: {snapshot.moved:,} moved, {snapshot.rescored:,} rescored"
            f"{f' ({causes})' if causes else ''}, {snapshot.carried:,} carried forward; who moved and why: "
            f"segadmin snapshots diff {snapshot.previous_id} {snapshot.id}",
            highlight=False,
        )
    if snapshot.newest_event is not None:
        line = freshness_line(snapshot.freshness)
        newest = f"newest event {snapshot.newest_event:%Y-%m-%d %H:%M:%S}"
        console.print(f"{newest}; {line}" if line else newest, highlight=False)
    if snapshot.moved_without_hysteresis is not None:
        console.print(
            f"hysteresis: {snapshot.moved:,} moved ({_share(snapshot.moved, snapshot)}); without it, "
            f"{snapshot.moved_without_hysteresis:,} would have "
            f"({_share(snapshot.moved_without_hysteresis, snapshot)})",
            highlight=False,
        )
    if snapshot.corrected:
        whom = counted(snapshot.corrected, "user")
        console.print(f"{whom} corrected by people: segadmin users corrections", highlight=False)
    for facts in snapshot.inference:
        console.print(inference_words(facts), highlight=False)


def _segment_table(segments: list[SegmentSummary]) -> Table:
    from rich import box
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    rendered = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, justify in (("segment", "left"), ("users", "right"), ("share", "right"), ("", "left")):
        rendered.add_column(name, justify=justify)  # type: ignore[arg-type]
    rendered.add_column("confidence", justify="right")
    rendered.add_column("distinctive (× all users' share)")
    for summary in segments:
        rendered.add_row(
            Text(summary.segment),
            f"{summary.users:,}",
            f"{summary.share:.1%}",
            Bar(1.0, 0.0, summary.share, width=_BAR_WIDTH),
            f"{summary.confidence:.2f}" if summary.users else "–",
            Text(", ".join(f"{category['category']} ×{category['lift']:.1f}" for category in summary.distinctive)),
        )
    return rendered


def _share(users: int, snapshot: SegmentSnapshot) -> str:
    return f"{users / max(snapshot.users, 1):.1%}"


def _facts(snapshot: SegmentSnapshot) -> dict[str, Any]:
    return snapshot.model_dump(mode="json")
