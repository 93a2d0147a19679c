"""Delivers the feed's records to the configured feeds: each from its own cursor, in order, until they are received."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement
from sqlmodel import col, or_, select, update

from segadmin import failpoints
from segadmin.contracts.feed import Feed, FeedBatch
from segadmin.contracts.plugin_errors import describe
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import SegadminError, StepFenced
from segadmin.events.keys import show_key
from segadmin.settings import Settings
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import ConfiguredFeed, SnapshotSwitch

log = logging.getLogger(__name__)
#: Records of a batch. Batches must be cut alike when they are delivered again, so this is no option.
BATCH = 500
#: A receiver that is down is tried again after at most so long.
LONGEST_WAIT = timedelta(minutes=15)


def deliver_changes(
    settings: Settings, label_set: str, progress: Callable[[str], None], *, at_once: bool = False
) -> dict[str, int]:
    """Deliver what the feeds of a label set have not received yet; one that fails does not hold up the others.

    Args:
        settings: location of the store.
        label_set: whose feeds.
        progress: called with a note before each batch; what it raises ends the delivery.
        at_once: also deliver to feeds that wait for their next attempt.

    Returns:
        The number of records delivered, by feed.

    Raises:
        StepFenced: another process delivers to the same feed, or the feed was removed.
    """
    with reading(settings) as session:
        feeds = select(ConfiguredFeed).where(ConfiguredFeed.label_set == label_set).order_by(ConfiguredFeed.name)
        if not at_once:
            feeds = feeds.where(may_try(now(session)))
        due = session.exec(feeds).all()
    delivered: dict[str, int] = {}
    for feed in due:
        delivered[feed.name] = 0
        try:
            for count in _deliver(settings, feed, progress):
                delivered[feed.name] += count
        except StepFenced:
            raise
        except (Exception, SystemExit) as error:  # of a plugin, or of its receiver
            _note_failure(settings, feed.name, str(error) if isinstance(error, SegadminError) else describe(error))
    return delivered


def may_try(moment: datetime) -> ColumnElement[bool]:
    """Return the condition under which a feed does not wait for its next attempt.

    An attempt further away than the longest wait was set before the clock was set back.
    """
    retry_at = col(ConfiguredFeed.retry_at)
    return or_(retry_at.is_(None), retry_at <= moment, retry_at > moment + LONGEST_WAIT)


def _deliver(settings: Settings, feed: ConfiguredFeed, progress: Callable[[str], None]) -> Iterator[int]:
    """Deliver to one feed; yield the number of records of each batch."""
    receiver: Feed = load_plugins(settings).make("feed", feed.kind, feed.options)
    if feed.delivered_at is not None and next(_switches(settings, feed), None) is not None:
        last = receiver.received(feed.name)
        if last is not None and last < (feed.sequence, feed.position):  # lost, or of users who were erased
            _advance(settings, feed, *last)
    for switch in _switches(settings, feed):
        assert switch.id is not None
        assert switch.changes is not None
        start = feed.position if feed.sequence == switch.id else 0
        for batch, end in _batches(settings, feed.name, switch, start):
            progress(f"{feed.name}: change {batch.sequence}, record {batch.position} of {switch.changes}")
            if batch.records:
                receiver.deliver(batch)
                failpoints.reach("deliver")
            _advance(settings, feed, switch.id, end)
            yield len(batch.records)
        if (feed.sequence, feed.position) != (switch.id, switch.changes):  # it changed nobody's segment
            _advance(settings, feed, switch.id, switch.changes)


def _switches(settings: Settings, feed: ConfiguredFeed) -> Iterator[SnapshotSwitch]:
    """Yield the changes of the current snapshot that were not delivered completely, in order."""
    query = select(SnapshotSwitch).where(
        SnapshotSwitch.label_set == feed.label_set, col(SnapshotSwitch.id) >= feed.sequence
    )
    with reading(settings) as session:
        switches = session.exec(query.order_by(col(SnapshotSwitch.id))).all()
    for switch in switches:
        if switch.changes is None:  # its records are not written yet, and the later ones must wait
            return
        if switch.id != feed.sequence or feed.position < switch.changes:
            yield switch


def _batches(settings: Settings, feed: str, switch: SnapshotSwitch, start: int) -> Iterator[tuple[FeedBatch, int]]:
    """Yield the batches of a change after the position ``start``, and the last position of each."""
    assert switch.id is not None
    is_wanted = (pl.col("label_set") == switch.label_set) & (pl.col("sequence") == switch.id)
    rows = Lake.of(settings).scan("changes").filter(is_wanted).sort("position").collect()
    for first in range(start, switch.changes or 0, BATCH):
        end = min(first + BATCH, switch.changes or 0)
        records = rows.filter(pl.col("position").is_between(first + 1, end))
        yield FeedBatch(feed, switch.id, first + 1, [_record(row) for row in records.iter_rows(named=True)]), end


def _record(row: dict[str, Any]) -> dict[str, Any]:
    user, as_of = show_key(row["user_key"]), row["as_of"].isoformat()
    names = ("label_set", "snapshot_id", "sequence", "position", "change", "from_segment", "to_segment", "cause")
    return {name: row[name] for name in names} | {"user": user, "as_of": as_of}


def _advance(settings: Settings, feed: ConfiguredFeed, sequence: int, position: int) -> None:
    """Move the cursor of a feed, if it is where this process last saw it."""
    cursor = (
        col(ConfiguredFeed.name) == feed.name,
        col(ConfiguredFeed.sequence) == feed.sequence,
        col(ConfiguredFeed.position) == feed.position,
    )
    with transaction(settings) as session:
        moved = {"sequence": sequence, "position": position, "delivered_at": now(session)}
        well = {"failures": 0, "error": None, "retry_at": None}
        if session.exec(update(ConfiguredFeed).where(*cursor).values(**moved, **well)).rowcount == 0:
            raise StepFenced(f"the feed {feed.name} was removed, or another process delivers to it")
    feed.sequence, feed.position = sequence, position


def _note_failure(settings: Settings, name: str, reason: str) -> None:
    with transaction(settings) as session:
        feed = session.get(ConfiguredFeed, name)
        if feed is None:
            return
        wait = min(timedelta(seconds=settings.backoff_seconds * 2 ** min(feed.failures, 20)), LONGEST_WAIT)
        feed.failures, feed.error, feed.retry_at = feed.failures + 1, reason, now(session) + wait
        session.add(feed)
    log.warning("feed could not be delivered", extra={"action": "deliver", "feed": name, "seconds": wait.seconds})
