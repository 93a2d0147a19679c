"""The report of a snapshot for business people: one file with pictures, the numbers beside them, and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from segadmin.monitoring.snapshot_report import SnapshotReport
from segadmin.storage.records import utcnow
from segadmin_api.dashboard.figures import COLOURS
from segadmin_api.dashboard.pictures import NARROW, WIDTH, Bar, Line, bars, lines, sankey
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import render, text_of

#: Colours of users without a segment, and of distributions that did not drift and that did.
_NOBODY, _USUAL, _DRIFTED = "#8a8f94", "#56b4e9", "#d55e00"
#: Distributions that are drawn, those that changed most.
_DISTRIBUTIONS = 8
#: From this change of the shares of a distribution on, most books call it large.
_LARGE = 0.25


def page(report: SnapshotReport, *, reader: Reader = ENGLISH, now: datetime | None = None) -> str:
    """Return a report as one self-contained page."""
    snapshot = report.snapshot
    return render(
        "report.html",
        title=text_of(reader, "segments of %(labels)s", labels=snapshot.label_set),
        reader=reader,
        report=report,
        snapshot=snapshot,
        charts=charts(report, reader),
        narrow=charts(report, reader, NARROW),
        largest=max(report.segments, key=lambda row: row.users, default=None),
        findings=_findings(report),
        names=_outside(reader),
        sides=_sides(report),
        moved=_moved(report),
        made=now or utcnow(),
    )


def file_name(report: SnapshotReport, reader: Reader = ENGLISH) -> str:
    """Return what the file of a report is called."""
    return f"segadmin-report-{report.snapshot.label_set}-{report.snapshot.id}-{reader.language}.html"


def charts(report: SnapshotReport, reader: Reader = ENGLISH, width: float = WIDTH) -> dict[str, Markup]:
    """Return the pictures of a report by name, in their order; what there is nothing to draw of is left out."""
    drawn = {
        "segments": _sizes(report, reader, width),
        "trend": _trend(report, reader, width),
        **{f"distinctive-{n}": _distinctive(report, n, reader, width) for n in range(1, len(report.segments) + 1)},
        "movement": _movement(report, reader, width),
        "confidence": _confidence(report, reader, width),
        "precision": _precision(report, reader, width),
        "drift": _drift(report, reader, width),
    }
    return {name: picture for name, picture in drawn.items() if picture is not None}


def _colours(report: SnapshotReport) -> dict[str, str]:
    names = [*dict.fromkeys([*report.trend.users, *(row.segment for row in report.segments)])]
    return {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}


def _sizes(report: SnapshotReport, reader: Reader, width: float) -> Markup | None:
    count, share, colours = reader.formats.count, reader.formats.share, _colours(report)
    rows = [
        Bar(row.segment, row.users, f"{count(row.users)} ({share(row.share)})", colours[row.segment])
        for row in report.segments
    ]
    return bars(text_of(reader, "Users by segment"), rows, width=width) if rows else None


def _trend(report: SnapshotReport, reader: Reader, width: float) -> Markup | None:
    trend, colours = report.trend.by_moment(), _colours(report)
    if len(trend.snapshot_ids) < 2:
        return None
    series = [
        Line(name, users, [reader.formats.count(each) for each in users], colours[name])
        for name, users in trend.users.items()
    ]
    dates, moments = [reader.formats.day(at) for at in trend.as_of], [at.timestamp() for at in trend.as_of]
    return lines(text_of(reader, "Users by segment over time"), dates, moments, series, width)


def _distinctive(report: SnapshotReport, number: int, reader: Reader, width: float) -> Markup | None:
    row = report.segments[number - 1]
    if not row.distinctive:
        return None
    title = text_of(reader, "What %(segment)s buy more than everybody, times as much", segment=row.segment)
    rows = [
        Bar(str(each["category"]), each["lift"], f"×{each['lift']:.2f}", _colours(report)[row.segment])
        for each in row.distinctive
    ]
    return bars(title, rows, mark=(1, text_of(reader, "everybody")), width=width)


def _movement(report: SnapshotReport, reader: Reader, width: float) -> Markup | None:
    colours, names = _colours(report), _outside(reader)
    befores, afters = _sides(report)
    flows = {
        (befores.index(before), afters.index(after)): (users, reader.formats.count(users))
        for (before, after), users in report.matrix.items()
        if users
    }
    if not flows:
        return None

    def named(side: Sequence[str | None], nobody: str) -> list[tuple[str, str]]:
        return [(nobody if name is None else name, colours.get(name or "", _NOBODY)) for name in side]

    title = text_of(reader, "Users by segment before (left) and now (right)")
    return sankey(title, named(befores, names["before"]), named(afters, names["after"]), flows, width)


def _confidence(report: SnapshotReport, reader: Reader, width: float) -> Markup | None:
    share, colours = reader.formats.share, _colours(report)
    rows = [
        Bar(row.segment, row.confidence, share(row.confidence, 0), colours[row.segment])
        for row in report.segments
        if row.users
    ]
    return (
        bars(text_of(reader, "Mean probability of the assigned segment"), rows, most=1, width=width) if rows else None
    )


def _precision(report: SnapshotReport, reader: Reader, width: float) -> Markup | None:
    share, colours = reader.formats.share, _colours(report)
    rows = [
        Bar(each.segment, each.share, share(each.share, 0), colours.get(each.segment, _NOBODY))
        for each in report.precision
        if each.share is not None
    ]
    title = text_of(reader, "How often the model is right, by the segment that it assigns")
    return bars(title, rows, most=1, width=width) if rows else None


def _drift(report: SnapshotReport, reader: Reader, width: float) -> Markup | None:
    rows = [
        Bar(
            each["name"],
            each["stability_index"],
            f"{each['stability_index']:.3f}",
            _DRIFTED if each["drifted"] else _USUAL,
        )
        for each in _findings(report)
    ]
    if not rows:
        return None
    title = text_of(reader, "How far distributions have changed (population stability index)")
    large = (_LARGE, text_of(reader, "large change"))
    return bars(title, rows, mark=large if max(row.value for row in rows) > _LARGE / 4 else None, width=width)


def _findings(report: SnapshotReport) -> Sequence[Mapping[str, Any]]:
    """Return the distributions that changed most."""
    findings = report.drift.findings if report.drift else []
    return sorted(findings, key=lambda each: -each["stability_index"])[:_DISTRIBUTIONS]


def _sides(report: SnapshotReport) -> tuple[list[str | None], list[str | None]]:
    """Return the segments before and now, with ``None`` for users who are in one of the snapshots only."""
    segments: Sequence[str] = report.compared.segments if report.compared else ()
    befores, afters = ({cell[side] for cell, users in report.matrix.items() if users} for side in (0, 1))
    ordered: list[str | None] = [*segments, None]
    return [name for name in ordered if name in befores], [name for name in ordered if name in afters]


def _moved(report: SnapshotReport) -> int | None:
    """Return how many users are in another segment than in the snapshot before; ``None`` if there is none."""
    both = [(before, after, users) for (before, after), users in report.matrix.items() if None not in {before, after}]
    return sum(users for before, after, users in both if before != after) if report.compared else None


def _outside(reader: Reader) -> dict[str, str]:
    """Return what users are called who are not in the earlier snapshot, and those who are not in the later one."""
    return {"before": text_of(reader, "new users"), "after": text_of(reader, "left")}
