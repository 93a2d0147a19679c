"""The page of one segment: what it is worth and for, what distinguishes it, and who moved; and two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_urlsafe
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from segadmin.events.keys import show_key
from segadmin.settings import Settings
from segadmin.snapshots.segment_calibration import SegmentCalibration
from segadmin.snapshots.segment_profile import Lift, SegmentProfile
from segadmin.snapshots.segment_view import SegmentMovement, SegmentView, calibration_of, movement_of
from segadmin.snapshots.trend import Trend, segment_trend
from segadmin.storage.database import reading
from segadmin.storage.records import SegmentDescription
from segadmin_api.dashboard.assets import UPLOT
from segadmin_api.dashboard.figures import trend_data
from segadmin_api.dashboard.interval_charts import Bar, calibration_chart, histogram, hours_chart, interval_chart
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of

#: What a segment is compared with everybody by.
KINDS = ("categories", "brands", "items")


@dataclass(frozen=True)
class Edit:
    """A description that was sent and could not be written: it is shown again."""

    description: str
    owner: str
    problem: str


@dataclass(frozen=True)
class SegmentContent:
    """Everything on the page of a segment."""

    view: SegmentView
    trend: Trend
    movement: SegmentMovement | None
    calibration: SegmentCalibration | None


def content_of(settings: Settings, view: SegmentView) -> SegmentContent:
    """Read what the page shows besides the segment itself."""
    with reading(settings) as session:
        trend = segment_trend(session, view.snapshot.label_set, until=view.snapshot.id)
    movement = movement_of(settings, view.snapshot, view.summary.segment)
    return SegmentContent(view, trend, movement, calibration_of(settings, view))


def page(content: SegmentContent, reader: Reader, edit: Edit | None = None) -> str:
    """Return the page of a segment.

    Args:
        content: what it shows.
        reader: who reads it.
        edit: a description that could not be written.
    """
    view, segment, trend = content.view, content.view.summary.segment, content.trend
    sizes = trend.users.get(segment, [])
    has_bins = bool(view.summary.probabilities)
    return served(
        "segment.html",
        segment,
        "/segments",
        reader,
        view=view,
        snapshot=view.snapshot,
        summary=view.summary,
        profile=view.profile,
        distinctive=_distinctive(view.profile, reader),
        hours=_hours(view, reader),
        histogram=_histogram(view, reader) if has_bins else None,
        movement=content.movement,
        calibration=content.calibration,
        calibration_figure=_calibration(content.calibration, reader),
        trend=trend,
        history=list(zip(trend.snapshot_ids, trend.as_of, sizes, strict=False))[::-1],
        lines=trend_data(trend, [segment]),
        edit=edit or Edit(view.description.description, view.description.owner, ""),
        nonce=token_urlsafe(12),
        assets=UPLOT,
    )


def compare_page(one: SegmentView, other: SegmentView, reader: Reader) -> str:
    """Return the page of two segments of a snapshot, side by side."""
    views, profiles = (one, other), (one.profile, other.profile)
    return served(
        "segment_compare.html",
        text_of(reader, "%(one)s and %(other)s", one=one.summary.segment, other=other.summary.segment),
        "/segments",
        reader,
        views=views,
        snapshot=one.snapshot,
        others=[name for name in one.others if name != other.summary.segment],
        kinds={title: rows for kind, title in _titles(reader) if (rows := _side_by_side(profiles, kind))},
        known=all(profiles),
    )


def typical_page(view: SegmentView, users: Sequence[dict[str, Any]], reader: Reader) -> str:
    """Return the page of the users in the middle of a segment."""
    rows = [user | {"user_key": show_key(user["user_key"])} for user in users]
    title = text_of(reader, "typical users of %(segment)s", segment=view.summary.segment)
    return served(
        "segment_typical.html", title, "/segments", reader, snapshot=view.snapshot, summary=view.summary, users=rows
    )


def saved(description: SegmentDescription, reader: Reader) -> str:
    """Return what a page says of a description that was written."""
    return text_of(reader, "The description is saved as revision %(number)s.", number=description.revision)


def stale_edit(reader: Reader) -> str:
    """Return what a page says of a description that somebody else changed meanwhile."""
    changed = text_of(reader, "Somebody else changed the description meanwhile; theirs is shown above.")
    again = text_of(reader, "Change yours, and save again.")
    return f"{changed} {again}"


def _titles(reader: Reader) -> list[tuple[str, str]]:
    return [
        ("categories", text_of(reader, "Categories")),
        ("brands", text_of(reader, "Brands")),
        ("items", text_of(reader, "Items")),
    ]


def _distinctive(profile: SegmentProfile | None, reader: Reader) -> list[tuple[str, list[Lift], Markup]]:
    """Return of each kind what stands out, with its chart."""
    if profile is None:
        return []
    described = text_of(reader, "Times as much as everybody, with 95 % intervals")
    kinds = [(title, profile.distinctive(kind)) for kind, title in _titles(reader)]
    return [
        (
            title,
            lifts,
            interval_chart(
                title,
                [Bar(lift.title or lift.name, lift.lift.value, lift.lift.low, lift.lift.high) for lift in lifts],
                described,
            ),
        )
        for title, lifts in kinds
        if lifts
    ]


def _hours(view: SegmentView, reader: Reader) -> tuple[list[tuple[str, Lift]], Markup] | None:
    """Return the hours of the day in the zone of the reader, and their chart."""
    profile = view.profile
    if profile is None or not profile.hours:
        return None
    offset = view.snapshot.as_of.astimezone(ZoneInfo(reader.zone)).utcoffset() or timedelta()
    minutes = [(int(lift.name) * 60 + int(offset.total_seconds()) // 60) % (24 * 60) for lift in profile.hours]
    rows = sorted(zip(minutes, profile.hours, strict=True), key=lambda pair: pair[0])
    named = [(f"{minute // 60:02}:{minute % 60:02}", lift) for minute, lift in rows]
    names = (view.summary.segment, text_of(reader, "everybody"))
    chart = hours_chart(
        text_of(reader, "Hours of the day"), [(hour, lift.share, lift.overall) for hour, lift in named], names
    )
    return named, chart


def _histogram(view: SegmentView, reader: Reader) -> Markup:
    title = text_of(reader, "Users by probability")
    return histogram(title, view.summary.probabilities, text_of(reader, "Users by the probability of their segment"))


def _calibration(calibration: SegmentCalibration | None, reader: Reader) -> Markup | None:
    if calibration is None:
        return None
    described = text_of(reader, "How often users were in the segment, by the probability of it")
    return calibration_chart(text_of(reader, "Calibration"), calibration, described)


def _side_by_side(profiles: Sequence[SegmentProfile | None], kind: str) -> list[tuple[str, list[Lift | None]]]:
    """Return what stands out in one of two segments, with the lift in both."""
    known = [profile for profile in profiles if profile is not None]
    names = dict.fromkeys(lift.name for profile in known for lift in profile.distinctive(kind))
    tables = [{lift.name: lift for lift in getattr(profile, kind)} if profile else {} for profile in profiles]
    rows = [(name, [lifts.get(name) for lifts in tables]) for name in names]
    return [(next((lift.title for lift in lifts if lift and lift.title), name), lifts) for name, lifts in rows]
