"""The pages of users: the search, and one user: events, segments over time, text and corrections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from segadmin.events.keys import show_key
from segadmin.events.timeline import TimelineEvent, UserTotals, read_timeline
from segadmin.labels.corrections import holds
from segadmin.settings import Settings
from segadmin.snapshots.corrections import Corrected, corrections_of, segments_of_labels
from segadmin.snapshots.user import Assigned, Published, history, published_snapshots, read_text
from segadmin.storage.database import now, reading
from segadmin.storage.records import Correction
from segadmin.storage.schema import microseconds
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of
from segadmin_api.dashboard.user_history import chart, stays_of

#: Rows of the history, and events on a page.
_HISTORY, _EVENTS = 200, 25


@dataclass(frozen=True)
class CorrectionForm:
    """A form that was sent and could not be obeyed: it is shown again."""

    action: str = ""  #: ``correct``, ``pin`` or ``withdraw``; empty: none was sent
    values: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class UserContent:
    """Everything on the page of a user."""

    key: int
    rows: Sequence[Assigned]  #: the segment in every snapshot, newest first
    published: Sequence[Published]  #: all snapshots, newest first
    events: Sequence[TimelineEvent]  #: one more than is shown, if there are more
    totals: UserTotals
    corrections: Sequence[tuple[Correction, bool]]  #: newest first, and whether it is in force
    segments: Mapping[str, Sequence[str]]  #: label set → its segments
    texts: Mapping[str, Sequence[str]]  #: label set → what the model reads


def search_page(reader: Reader, asked: str = "", problem: str = "") -> str:
    """Return the page that asks for a user.

    Args:
        reader: who reads it.
        asked: the id that was looked for.
        problem: why there is no such user.
    """
    title = text_of(reader, "users")
    return served("users.html", title, "/users", reader, asked=asked, problem=problem)


def content_of(
    settings: Settings, key: int, *, text: bool = False, after: tuple[int, int] | None = None
) -> UserContent:
    """Read what the page of a user shows.

    Args:
        settings: location of the store.
        key: of the user.
        text: also what the models read.
        after: position of the last event on the page before.
    """
    rows = history(settings, key)
    current = [row for row in rows if row.current]
    with reading(settings) as session:
        moment, published = now(session), published_snapshots(session)
        corrections = [(row, holds(row, moment)) for row in corrections_of(session, key)]
        segments = {row.label_set: segments_of_labels(session, row.label_set)[1] for row in current}
    timeline = read_timeline(settings, key, _EVENTS + 1, after=after)
    return UserContent(
        key=key,
        rows=rows,
        published=published,
        events=timeline.events,
        totals=timeline.totals,
        corrections=corrections,
        segments=segments,
        texts={row.label_set: read_text(settings, key, row.model_version_id) for row in current} if text else {},
    )


def page(content: UserContent, reader: Reader, form: CorrectionForm | None = None) -> str:
    """Return the page of a user."""
    key, stays = show_key(content.key), stays_of(content.rows, content.published)
    shown = content.events[:_EVENTS]
    older = f"{microseconds(shown[-1].at)}_{shown[-1].event_id}" if len(content.events) > _EVENTS else ""
    current = [row for row in content.rows if row.current]
    return served(
        "user.html",
        text_of(reader, "user %(key)s", key=key),
        "/users",
        reader,
        key=key,
        current=current,
        in_force={row.label_set: row for row, is_in_force in content.corrections if is_in_force},
        charts={
            row.label_set: chart([stay for stay in stays if stay.label_set == row.label_set], reader) for row in current
        },
        moves=sorted(stays, key=lambda stay: -stay.first.id)[:_HISTORY],
        texts=content.texts,
        events=shown,
        older=older,
        totals=content.totals,
        corrections=content.corrections,
        segments=content.segments,
        form=form or CorrectionForm(),
    )


def corrections_page(
    rows: Sequence[Correction], moment: datetime, reader: Reader, *, over: bool, older: int | None
) -> str:
    """Return the page of corrections.

    Args:
        rows: newest first.
        moment: now.
        reader: who reads it.
        over: whether those that expired or were withdrawn are shown, too.
        older: the number of the last one, if there are more.
    """
    lines = [(row, show_key(row.user_key), holds(row, moment)) for row in rows]
    title = text_of(reader, "corrections")
    return served("corrections.html", title, "/users", reader, lines=lines, over=over, older=older)


def review_page(rows: Sequence[dict[str, Any]], snapshot: object, labels: Sequence[str], reader: Reader) -> str:
    """Return the page of the users whom it pays most to look at.

    Args:
        rows: those of :func:`segadmin.snapshots.review.review`; ``None`` of a snapshot means that one must be chosen.
        snapshot: whose users they are.
        labels: all label sets with a snapshot.
        reader: who reads it.
    """
    users = [row | {"user": show_key(row["user_key"])} for row in rows]
    title = text_of(reader, "whom to look at first")
    return served("review.html", title, "/users", reader, users=users, snapshot=snapshot, labels=labels)


def notice(done: Corrected, reader: Reader) -> str:
    """Return what a page says of a correction that was stored."""
    if done.snapshot_id is None:
        return text_of(reader, "It is stored. The current snapshot stays as it is.")
    return text_of(reader, "It is stored. Snapshot %(number)s has it, and is current.", number=done.snapshot_id)
