"""When a user was in which segment: the stays in segments, and their chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from markupsafe import Markup

from segadmin.snapshots.user import Assigned, Published
from segadmin_api.dashboard.interval_charts import segments_chart
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import text_of


@dataclass(frozen=True)
class Stay:
    """Successive snapshots of a label set in which a user is in the same segment, or in none of them."""

    label_set: str
    segment: str | None  #: ``None``: the user had left
    first: Published
    last: Published
    snapshots: int  #: how many there are
    model_version_id: int | None  #: of the first


def stays_of(rows: Sequence[Assigned], published: Sequence[Published]) -> list[Stay]:
    """Return where a user was from the first snapshot with the user on, the oldest first.

    Args:
        rows: the segment in every snapshot that the user is in.
        published: all snapshots, newest first.
    """
    by_snapshot = {row.snapshot_id: row for row in rows}
    label_sets = dict.fromkeys(row.label_set for row in rows)
    return [stay for label_set in label_sets for stay in _stays(label_set, by_snapshot, published)]


def _stays(label_set: str, rows: dict[int, Assigned], published: Sequence[Published]) -> Iterator[Stay]:
    snapshots = [each for each in reversed(published) if each.label_set == label_set]
    first = next(n for n, each in enumerate(snapshots) if each.id in rows)
    segments = [(each, rows.get(each.id)) for each in snapshots[first:]]
    for segment, same in groupby(segments, key=lambda pair: None if pair[1] is None else pair[1].segment):
        run = list(same)
        (begin, row), (end, _) = run[0], run[-1]
        yield Stay(label_set, segment, begin, end, len(run), row and row.model_version_id)


def chart(stays: Sequence[Stay], reader: Reader) -> Markup | None:
    """Return a picture of the stays of a user in segments of one label set; ``None`` with one snapshot alone.

    Snapshots are equally wide: some are of the same moment, as those before and after a correction.
    """
    total = sum(stay.snapshots for stay in stays)
    if total < 2:
        return None
    places = [n / total for n in accumulate((stay.snapshots for stay in stays), initial=0)]
    over = [*(stay.first for stay in stays[1:]), stays[-1].last]
    runs = [
        (stay.segment, begin, end, _in_words(stay.segment, (stay.first, until), reader))
        for stay, until, (begin, end) in zip(stays, over, pairwise(places), strict=True)
        if stay.segment is not None
    ]
    ends = reader.formats.day(stays[0].first.as_of), reader.formats.day(stays[-1].last.as_of)
    return segments_chart(text_of(reader, "Segments over time"), runs, ends)


def _in_words(segment: str, ends: tuple[Published, Published], reader: Reader) -> str:
    """Return a segment, and from when to when the user was in it."""
    moments = dict.fromkeys(reader.formats.moment(each.as_of) for each in ends)
    return f"{segment}: {' – '.join(moments)}"
