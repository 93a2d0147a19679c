"""``segadmin segments``: the segments of the current snapshots, what they are for, and what distinguishes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.settings import Settings
from segadmin_api.cli.output import JsonOption, UsageError, echo, group, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_record, as_records
from segadmin_api.formatting import ago

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segadmin.snapshots.segment_profile import Estimate, Lift, SegmentProfile
    from segadmin.snapshots.segment_view import SegmentMovement
    from segadmin.storage.records import SegmentDescription, SegmentSummary
    from segadmin_api.client import Client
    from segadmin_api.schemas.segments import Description, Moved, SegmentDetails, SegmentOfLabelSet

app = group("Segments: sizes, what they are for, what they are worth, and what distinguishes them.")
Segment = Annotated[str, typer.Argument(metavar="SEGMENT", help="A segment of the current snapshot.")]
Labels = Annotated[str | None, typer.Option("--labels", help="Label set; needed if several have a snapshot.")]


@app.command("list")
def list_(
    labels: Annotated[str | None, typer.Option("--labels", help="Only of this label set.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the segments of the current snapshots with their sizes, owners and descriptions."""
    from segadmin.snapshots.read import NO_SNAPSHOTS

    rows = answer(
        lambda settings: _list(settings, labels),
        lambda client: list(map(_row, client.list_segments(labels=labels).items)),
    )
    if as_json:
        show_json(rows)
        return
    table(
        "",
        ["labels", "segment", ">users", ">share", ">confidence", "owner", "what it is for"],
        [
            (
                *(row["label_set"], row["segment"], f"{row['users']:,}"),
                *(f"{row['share']:.1%}", f"{row['confidence']:.2f}", *row["description"].values()),
            )
            for row in rows
        ],
        empty=NO_SNAPSHOTS,
    )


def _list(settings: Settings, labels: str | None) -> list[dict[str, Any]]:
    from segadmin.snapshots.descriptions import all_descriptions
    from segadmin.snapshots.read import currents, find_snapshot, summaries
    from segadmin.storage.database import reading

    rows: list[dict[str, Any]] = []
    with reading(settings) as session:
        by_label_set = currents(session)
        if labels is not None:
            by_label_set = {labels: find_snapshot(session, "current", labels).id or 0}
        for label_set, number in by_label_set.items():
            written = all_descriptions(session, label_set)
            rows += [
                {"label_set": label_set, "snapshot": number}
                | row.model_dump(mode="json", include={"segment", "users", "share", "confidence"})
                | {"description": _texts(written.get(row.segment))}
                for row in summaries(session, number)
            ]
    return rows


def _row(item: SegmentOfLabelSet) -> dict[str, Any]:
    """Return a segment of the list of a server."""
    texts = {"owner": item.description.owner, "description": item.description.description}
    fields = ("label_set", "snapshot", "segment", "users", "share", "confidence")
    return {name: getattr(item, name) for name in fields} | {"description": texts}


@app.command()
def show(segment: Segment, labels: Labels = None, as_json: JsonOption = False) -> None:
    """Show what a segment is for, what it is worth, what distinguishes it, and who moved."""
    shown = answer(
        lambda settings: _shown(settings, labels, segment),
        lambda client: _shown_there(client.show_segment(_label_set_there(client, labels), segment)),
    )
    view, movement, calibration = shown, shown.movement, shown.calibration
    if as_json:
        facts = view.summary.model_dump(mode="json", exclude={"id", "snapshot_id"})
        facts |= {"label_set": view.label_set, "snapshot": view.snapshot}
        facts["profile"] = None if view.profile is None else view.profile.model_dump(mode="json")
        facts["description"] = _texts(view.description)
        facts["history"] = [row.model_dump(mode="json", exclude={"id", "label_set", "segment"}) for row in view.history]
        facts["movement"] = None if movement is None else movement.__dict__
        facts["calibration"] = None if calibration is None else _calibration(calibration)
        show_json(facts)
        return
    _print(view, movement)


@app.command()
def compare(
    one: Annotated[str, typer.Argument(metavar="SEGMENT", help="A segment of the current snapshot.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Another one of the same label set.")],
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two segments: what they are worth and what they buy, with 95 % intervals."""
    profiled = answer(
        lambda settings: _compare(settings, labels, (one, other)),
        lambda client: [
            (item.segment, item.users, item.profile)
            for item in client.compare_segments(_label_set_there(client, labels), (one, other)).items
        ],
    )
    profiles = [profile for _, _, profile in profiled]
    if as_json:
        show_json(
            {
                segment: {"users": users, "profile": profile and profile.model_dump(mode="json")}
                for segment, users, profile in profiled
            }
        )
        return
    rows: list[tuple[object, ...]] = [("users", *(f"{users:,}" for _, users, _ in profiled))]
    rows += [(name, *cells) for name, *cells in zip(_WORTH, *(_worth(each) for each in profiles), strict=True)]
    table("", ["", f">{one}", f">{other}"], rows)
    for kind in ("categories", "brands", "items"):
        names = dict.fromkeys(lift.name for each in profiles if each for lift in each.distinctive(kind))
        known = [{lift.name: lift for lift in getattr(each, kind)} if each else {} for each in profiles]
        if names:
            cells = [(name, *(_lift(lifts.get(name)) for lifts in known)) for name in names]
            table(f"{kind}: times everybody's share", ["", f">{one}", f">{other}"], cells)


def _compare(
    settings: Settings, labels: str | None, segments: Sequence[str]
) -> list[tuple[str, int, SegmentProfile | None]]:
    """Return the users and the profile of each segment."""
    from segadmin.snapshots.segment_view import view_segment

    views = [view_segment(settings, _label_set(settings, labels), segment) for segment in segments]
    return [(view.summary.segment, view.summary.users, view.profile) for view in views]


@app.command()
def describe(
    segment: Segment,
    text: Annotated[str | None, typer.Option("--text", help="What the segment is for.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="A person or a team who is responsible for it.")] = None,
    labels: Labels = None,
    history: Annotated[bool, typer.Option("--history", help="Show all versions, and change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write what a segment is for and who is responsible for it; every version is kept."""
    from segadmin.snapshots.descriptions import describe as write

    if history == (text is not None or owner is not None):
        raise UsageError("Give --text TEXT, --owner OWNER or both to change the description, or --history to see it.")
    if history:
        shown = answer(
            lambda settings: _shown(settings, labels, segment),
            lambda client: _shown_there(client.show_segment(_label_set_there(client, labels), segment)),
        )
        _print_history(shown.history, as_json=as_json)
        return

    def there(client: Client) -> SegmentDescription:
        label_set = _label_set_there(client, labels)
        return _description(
            label_set, segment, client.describe_segment(label_set, segment, description=text, owner=owner)
        )

    row = answer(
        lambda settings: write(settings, _label_set(settings, labels), segment, description=text, owner=owner), there
    )
    if as_json:
        show_json(row.model_dump(mode="json", exclude={"id"}))
        return
    echo(f"{segment} of {row.label_set}, revision {row.revision}")
    _print_texts(row)


_WORTH = ("spend per user", "purchases per user", "share of revenue")


@dataclass(frozen=True)
class _Shown:
    """What is shown of a segment."""

    label_set: str
    snapshot: int
    summary: SegmentSummary
    profile: SegmentProfile | None
    description: SegmentDescription
    history: Sequence[SegmentDescription]
    movement: SegmentMovement | None
    calibration: object | None


def _shown(settings: Settings, labels: str | None, segment: str) -> _Shown:
    from segadmin.snapshots.segment_view import calibration_of, movement_of, view_segment

    view = view_segment(settings, _label_set(settings, labels), segment)
    return _Shown(
        view.snapshot.label_set,
        view.snapshot.id or 0,
        *(view.summary, view.profile, view.description, view.history),
        movement_of(settings, view.snapshot, segment),
        calibration_of(settings, view),
    )


def _shown_there(item: SegmentDetails) -> _Shown:
    """Return what a server shows."""
    from segadmin.snapshots.segment_calibration import CalibrationBin, SegmentCalibration
    from segadmin.snapshots.segment_view import SegmentMovement
    from segadmin.storage.records import SegmentSummary

    describe = partial(_description, item.label_set, item.segment)
    movement = calibration = None
    if item.movement is not None:
        pairs = {"entered": _pairs(item.movement.entered), "left": _pairs(item.movement.left)}
        movement = as_record(SegmentMovement, item.movement, **pairs)
    if item.calibration is not None:
        bins = tuple(as_records(CalibrationBin, item.calibration.bins))
        calibration = as_record(SegmentCalibration, item.calibration, bins=bins)
    return _Shown(
        item.label_set,
        item.snapshot,
        as_record(SegmentSummary, item, snapshot_id=item.snapshot),
        item.profile,
        describe(item.description),
        list(map(describe, item.history)),
        movement,
        calibration,
    )


def _pairs(moved: Sequence[Moved]) -> tuple[tuple[str | None, int], ...]:
    return tuple((each.segment, each.users) for each in moved)


def _description(label_set: str, segment: str, item: Description) -> SegmentDescription:
    from segadmin.storage.records import SegmentDescription

    return as_record(SegmentDescription, item, label_set=label_set, segment=segment)


def _label_set(settings: Settings, name: str | None) -> str:
    from segadmin.snapshots.read import find_snapshot
    from segadmin.storage.database import reading

    with reading(settings) as session:
        return find_snapshot(session, "current", name).label_set


def _label_set_there(client: Client, name: str | None) -> str:
    return name or client.show_snapshot("current").label_set


def _texts(row: SegmentDescription | None) -> dict[str, Any]:
    return {"owner": "", "description": ""} if row is None else {"owner": row.owner, "description": row.description}


def _calibration(calibration: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(calibration)


def _print(view: _Shown, movement: SegmentMovement | None) -> None:
    row = view.summary
    name = f"{row.segment} of {view.label_set}, snapshot {view.snapshot}"
    echo(f"{name}: {counted(row.users, 'user')}, {row.share:.1%} of all, mean probability {row.confidence:.2f}")
    _print_texts(view.description)
    profile = view.profile
    if profile is None:
        echo("What it buys is not known yet. It is computed with the next refresh: segadmin enqueue refresh --wait")
    else:
        table("", ["worth", ">with 95 % interval"], list(zip(_WORTH, _worth(profile), strict=True)))
        for kind in ("categories", "brands", "items"):
            lifts = profile.distinctive(kind)
            cells = [(lift.title or lift.name, f"{lift.share:.1%}", _lift(lift)) for lift in lifts]
            if cells:
                table(kind, ["", ">share", ">× everybody's share"], cells)
    if movement is not None:
        moves = [("from", segment or "new users", f"{users:,}") for segment, users in movement.entered]
        moves += [("to", segment or "nowhere: left", f"{users:,}") for segment, users in movement.left]
        title = f"movement since snapshot {movement.earlier} ({movement.stayed:,} stayed)"
        table(title, ["", "segment", ">users"], moves, empty=f"Nobody moved since snapshot {movement.earlier}.")


def _print_texts(row: SegmentDescription) -> None:
    if not row.revision:
        echo(f"Nobody has described it: segadmin segments describe {row.segment!r} --text TEXT --owner OWNER")
        return
    echo(f"what it is for: {row.description or '–'}")
    echo(f"owner: {row.owner or '–'} (revision {row.revision} by {row.actor}, {ago(row.created_at)})")


def _print_history(rows: Sequence[SegmentDescription], *, as_json: bool) -> None:
    if as_json:
        show_json([row.model_dump(mode="json", exclude={"id"}) for row in rows])
        return
    table(
        "",
        [">revision", "when", "by", "owner", "what it is for"],
        [(row.revision, f"{row.created_at:%Y-%m-%d %H:%M}", row.actor, row.owner, row.description) for row in rows],
        empty="Nobody has described it: segadmin segments describe SEGMENT --text TEXT --owner OWNER",
    )


def _worth(profile: SegmentProfile | None) -> list[str]:
    if profile is None:
        return ["–"] * len(_WORTH)
    return [_estimate(profile.spend), _estimate(profile.purchases), _estimate(profile.revenue, ".1%")]


def _estimate(estimate: Estimate | None, spec: str = ",.2f") -> str:
    if estimate is None:
        return "–"
    if estimate.low is None or estimate.high is None:
        return format(estimate.value, spec)
    return f"{estimate.value:{spec}} [{estimate.low:{spec}}, {estimate.high:{spec}}]"


def _lift(lift: Lift | None) -> str:
    return "–" if lift is None else _estimate(lift.lift)
