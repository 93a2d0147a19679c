"""``segadmin drift``: what changed since a model went into use, and how good its segments probably are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.monitoring.reports import (
    MOST_DRAWN,
    list_reports,
    outcomes_beside_estimates,
    report_for,
    report_history,
    report_of,
)
from segadmin.settings import Settings
from segadmin.snapshots.read import find_snapshot
from segadmin.storage.database import transaction
from segadmin.storage.records import DriftReport, SegmentSnapshot
from segadmin_api.cli.output import JsonOption, echo, group, nothing, save_page, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_record

if TYPE_CHECKING:
    from segadmin_api.client import Client
    from segadmin_api.schemas import snapshots

app = group("What changed since a model went into use, and how good its segments probably are.")
LabelSetOption = Annotated[
    str | None, typer.Option("--label-set", "--labels", help="The label set; needed if several have a snapshot.")
]
NO_REPORTS = "No drift reports yet. Every refresh makes one: segadmin enqueue refresh --wait"


@app.command("list")
def list_(
    label_set: LabelSetOption = None,
    html: Annotated[Path | None, typer.Option(help="Draw the newest ones as a page to this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the reports of all snapshots, newest first."""
    if html is not None:
        drawn = answer(
            lambda settings: _draw(settings, html, label_set), lambda client: _draw_there(client, html, label_set)
        )
        echo(f"Drew {counted(drawn, 'report')} to {html}. Open it in a browser.")
        return
    reports = answer(
        lambda settings: _list(settings, label_set),
        lambda client: list(map(_line, client.items(client.list_drift, labels=label_set))),
    )
    if as_json:
        show_json([_short(report, snapshot) for report, snapshot in reports])
        return
    columns = [">id", "labels", ">model", "as of", ">since", ">users", ">drifted", ">estimated AUROC", ">alarms"]
    table(
        "",
        columns,
        [
            (
                report.snapshot_id,
                snapshot.label_set,
                snapshot.model_version_id,
                f"{snapshot.as_of:%Y-%m-%d}",
                report.reference_id,
                f"{report.users:,}",
                f"{report.drifted} of {len(report.findings)}" if report.reference_id else "reference",
                _metric(report, "auroc").partition(" [")[0],  # with its interval, the table would be too wide
                len(report.alarms) or "",
            )
            for report, snapshot in reports
        ],
        empty=nothing(NO_REPORTS, label_set=label_set),
    )


def _list(settings: Settings, label_set: str | None) -> Sequence[tuple[DriftReport, SegmentSnapshot]]:
    with transaction(settings) as session:
        return list_reports(session, label_set)


def _line(item: snapshots.DriftLine) -> tuple[DriftReport, SegmentSnapshot]:
    """Return a report in a list of a server; of what was compared, the list has only the number."""
    findings: list[dict[str, Any]] = [{}] * item.distributions
    return as_record(DriftReport, item, findings=findings, estimate={"metrics": item.metrics}), _of(item)


def _of(item: snapshots.DriftLine) -> SegmentSnapshot:
    return as_record(SegmentSnapshot, item, id=item.snapshot_id, job_id=0)


def _draw(settings: Settings, html: Path, label_set: str | None) -> int:
    """Write a page of the newest reports, and return how many they are."""
    from segadmin_api.dashboard.drift import page

    with transaction(settings) as session:
        history = report_history(session, label_set)
    save_page(html, page(history))
    return len(history.lines)


def _draw_there(client: Client, html: Path, label_set: str | None) -> int:
    """Write the page of a server."""
    client.save_drift_page(html, labels=label_set)
    return len(client.list_drift(labels=label_set, limit=MOST_DRAWN).items)


@app.command()
def show(
    number: Annotated[str, typer.Argument(metavar="ID", help="The snapshot's number, or `current`.")] = "current",
    label_set: LabelSetOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also distributions that did not drift.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the report of a snapshot: distributions that drifted, estimated metrics, and missing events."""
    from segadmin.monitoring.volume import Volume

    report, snapshot, outcomes = answer(
        lambda settings: _find(settings, number, label_set), lambda client: _find_there(client, number, label_set)
    )
    if as_json:
        facts = report.model_dump(mode="json", exclude={"id"})
        show_json(facts | {"label_set": snapshot.label_set, "as_of": snapshot.as_of, "measured": outcomes})
        return
    for line in [_headline(report, snapshot), *report.alarms]:
        echo(line)
    _print_findings([finding for finding in report.findings if every or finding["drifted"]])
    _print_metrics(report, outcomes)
    rows = [
        (
            volume.period,
            volume.kind,
            f"{volume.events:,}",
            "" if volume.expected is None else f"{volume.expected:,.0f}",
            "missing" if volume.missing else "too few to tell" if volume.too_few else "",
        )
        for volume in map(Volume.model_validate, report.volumes)
    ]
    table("events per day", ["day", "kind", ">events", ">expected", ""], rows)


Found = tuple[DriftReport, SegmentSnapshot, Sequence[Mapping[str, Any]]]


def _find(settings: Settings, number: str, label_set: str | None) -> Found:
    """Return a report, its snapshot, and the outcomes that are known by now."""
    with transaction(settings) as session:
        snapshot = find_snapshot(session, number, label_set)
        report = (report_for if number == "current" else report_of)(session, snapshot)
        snapshot = session.get_one(SegmentSnapshot, report.snapshot_id)
        return report, snapshot, outcomes_beside_estimates(session, report)


def _find_there(client: Client, number: str, label_set: str | None) -> Found:
    item = client.show_drift(number, labels=label_set)
    return as_record(DriftReport, item), _of(item), item.measured


def drift_line(report: DriftReport) -> str:
    """Return the report in one line, for the page of a snapshot."""
    words = [f"{report.drifted} of {len(report.findings)} distributions drifted since snapshot {report.reference_id}"]
    if report.reference_id is None:
        words = ["later snapshots of this model are compared with this one"]
    if report.estimate.get("metrics"):
        words.append(f"estimated AUROC {_metric(report, 'auroc')}")
    if report.alarms:
        words.append(f"see: segadmin drift show {report.snapshot_id}")
    return "; ".join(words)


def _headline(report: DriftReport, snapshot: SegmentSnapshot) -> str:
    compared = "the reference of later ones" if report.reference_id is None else f"since snapshot {report.reference_id}"
    return (
        f"snapshot {report.snapshot_id} · {snapshot.label_set} · model {snapshot.model_version_id} · as of "
        f"{snapshot.as_of:%Y-%m-%d} · {compared} · {counted(report.users, 'user')} looked at"
    )


def _print_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            finding["name"],
            "drifted" if finding["drifted"] else "",
            f"{finding['stability_index']:.3f}",
            f"{finding['p']:.2g}",
            finding["bin"],
            f"{finding['before']:.1%} → {finding['now']:.1%}",
        )
        for finding in findings
    ]
    if rows:
        table("distributions", ["of", "", ">PSI", ">p (adjusted)", "most changed", "users there"], rows)


def _print_metrics(report: DriftReport, outcomes: Sequence[Mapping[str, Any]]) -> None:
    measured = {outcome["metric"]: f"{outcome['measured']:.4f}" for outcome in outcomes}
    rows = [
        (name, _metric(report, name), measured.get(name, "not known yet"))
        for name in report.estimate.get("metrics", {})
    ]
    rows += [
        (f"{name} of {segment}", f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]", "")
        for segment, metrics in report.estimate.get("segments", {}).items()
        for name, value in metrics.items()
    ]
    if rows:
        table("metrics without labels", ["metric", "estimated, with 95 % interval", "measured"], rows)
    for reason in report.unknown:
        echo(f"Cannot know: {reason}")


def _metric(report: DriftReport, name: str) -> str:
    value = report.estimate.get("metrics", {}).get(name)
    return f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]" if value else "cannot know"


def _short(report: DriftReport, snapshot: SegmentSnapshot) -> dict[str, Any]:
    facts = report.model_dump(
        mode="json", include={"snapshot_id", "reference_id", "users", "drifted", "alarms", "unknown"}
    )
    metrics = report.estimate.get("metrics", {})
    return facts | {"label_set": snapshot.label_set, "as_of": snapshot.as_of, "metrics": metrics}
