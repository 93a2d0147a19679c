"""The page of drift reports: what drifted, and estimated beside measured metrics, over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from segadmin.monitoring.reports import ReportHistory
from segadmin.storage.records import DriftReport, SegmentSnapshot
from segadmin_api.dashboard.charts import Series, line_chart
from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import render, text_of

#: Distributions whose population stability index is drawn, those that drifted most.
_DISTRIBUTIONS = 4
#: Titles of the metrics that are drawn.
METRICS = {"auroc": "AUROC", "macro_f1": "Macro F1", "accuracy": "Accuracy"}
#: Columns of the table of reports.
COLUMNS = (">snapshot", "as of", ">model", ">users", ">drifted", ">AUROC (estimated)", ">AUROC (measured)", "alarms")

Line = tuple[DriftReport, SegmentSnapshot]


def page(history: ReportHistory, *, online: bool = False, reader: Reader = ENGLISH) -> str:
    """Return the page of some reports, a section for each label set."""
    lines, measured = history.lines, history.measured
    names = sorted({snapshot.label_set for _, snapshot in lines})
    sections = [
        _section(name, [line for line in lines if line[1].label_set == name], measured, reader) for name in names
    ]
    if not online:  # a saved file links to no other page
        sections = [{**section, "links": ()} for section in sections]
    return render(
        "drift.html",
        title=text_of(reader, "drift"),
        here="/drift",
        online=online,
        reader=reader,
        columns=COLUMNS,
        sections=sections,
    )


def _section(
    name: str, newest_first: Sequence[Line], measured: Mapping[int, Mapping[str, Any]], reader: Reader
) -> dict[str, Any]:
    oldest_first = newest_first[::-1]
    charts = [_metric_chart(oldest_first, measured, metric, reader) for metric in METRICS]
    charts.append(_drift_chart(oldest_first, reader))
    rows = [_row(report, snapshot, measured.get(report.snapshot_id, {}), reader) for report, snapshot in newest_first]
    links = [f"/snapshots/{report.snapshot_id}" for report, _ in newest_first]
    return {"name": name, "charts": [chart for chart in charts if chart], "rows": rows, "links": links}


def _metric_chart(
    lines: Sequence[Line], measured: Mapping[int, Mapping[str, Any]], metric: str, reader: Reader
) -> Markup | None:
    """Return the estimates of a metric with their intervals, and the measured values; ``None`` if there are none."""
    estimates = [
        (snapshot.as_of.timestamp(), report.estimate["metrics"][metric])
        for report, snapshot in lines
        if metric in report.estimate.get("metrics", {})
    ]
    known = [
        (snapshot.as_of.timestamp(), float(value))
        for report, snapshot in lines
        if (value := measured.get(report.snapshot_id, {}).get(metric)) is not None
    ]
    series = [Series(text_of(reader, "measured"), known, line=False)] if known else []
    series += [
        Series(title, [(moment, estimate[part]) for moment, estimate in estimates], dots=part == "value")
        for part, title in (
            ("value", text_of(reader, "estimated")),
            ("low", text_of(reader, "95 % interval, low")),
            ("high", text_of(reader, "95 % interval, high")),
        )
        if estimates
    ]
    return _chart(text_of(reader, METRICS[metric]), series, lines, reader) if series else None


def _drift_chart(lines: Sequence[Line], reader: Reader) -> Markup | None:
    """Return the stability index of the distributions that drifted most; ``None`` if nothing was compared."""
    points: dict[str, list[tuple[float, float]]] = {}
    for report, snapshot in lines:
        for finding in report.findings:
            point = (snapshot.as_of.timestamp(), finding["stability_index"])
            points.setdefault(finding["name"], []).append(point)
    most = sorted(points, key=lambda name: -max(index for _, index in points[name]))[:_DISTRIBUTIONS]
    title = text_of(reader, "Population stability index of the distributions that changed most")
    return _chart(title, [Series(name, points[name]) for name in most], lines, reader) if most else None


def _chart(title: str, series: Sequence[Series], lines: Sequence[Line], reader: Reader) -> Markup:
    first, last = (lines[n][1].as_of for n in (0, -1))
    ends = (f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}")
    span = (first.timestamp(), last.timestamp())
    return line_chart(title, series, unit=text_of(reader, "time"), x=span, ends=ends, reader=reader)


def _row(
    report: DriftReport, snapshot: SegmentSnapshot, measured: Mapping[str, Any], reader: Reader
) -> Iterable[object]:
    estimate = report.estimate.get("metrics", {}).get("auroc")
    is_reference = report.reference_id is None
    return (
        report.snapshot_id,
        f"{snapshot.as_of:%Y-%m-%d}",
        snapshot.model_version_id,
        f"{report.users:,}",
        text_of(reader, "reference")
        if is_reference
        else text_of(reader, "%(drifted)s of %(all)s", drifted=report.drifted, all=len(report.findings)),
        f"{estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"
        if estimate
        else text_of(reader, "cannot be estimated"),
        f"{measured['auroc']:.4f}" if measured.get("auroc") is not None else text_of(reader, "not known yet"),
        " ".join(message_text(reader.language, alarm) for alarm in dict.fromkeys([*report.alarms, *report.unknown])),
    )
