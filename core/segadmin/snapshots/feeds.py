"""The configured feeds: who receives the changes of a label set, and how far each has come."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, func, select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, FeedNotFound, did_you_mean
from segadmin.settings import Settings
from segadmin.snapshots.read import currents
from segadmin.storage.audit import entry
from segadmin.storage.database import reading, transaction
from segadmin.storage.records import ConfiguredFeed, SnapshotSwitch
from segadmin.urls import has_secret, mask_url

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: A position behind all records of a change.
_END = 2**31 - 1


@dataclass(frozen=True)
class FeedState:
    """A feed, and what it has not received yet."""

    feed: ConfiguredFeed
    lag: int  #: changes of the current snapshot that are not delivered completely
    records: int  #: records that are not delivered, of the changes whose records are written


def add_feed(
    settings: Settings,
    name: str,
    kind: str,
    options: Mapping[str, Any],
    label_set: str | None = None,
    *,
    from_now: bool = False,
) -> ConfiguredFeed:
    """Add a feed and return it.

    Args:
        settings: location of the database.
        name: of the feed.
        kind: a feed plugin.
        options: of the plugin; secrets only as references to the environment.
        label_set: whose changes are delivered; ``None``: of the only one.
        from_now: deliver only what changes from now on, instead of all changes from the first snapshot on.

    Raises:
        ConfigurationError: a name, an option or a label set cannot be used, or there is such a feed already.
        PluginNotFound: there is no such kind.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"A feed cannot be called {name!r}. Use up to 64 letters, digits, dots, _ and -.")
    for option, value in options.items():
        if isinstance(value, str) and has_secret(value):
            raise ConfigurationError(
                f"The feed cannot store {option}={mask_url(value)!r}: it holds a secret. Write $FEED_PASSWORD (in "
                "single quotes) for it, and set FEED_PASSWORD in the workers' environment."
            )
    load_plugins(settings).make("feed", kind, options).check()
    with transaction(settings) as session:
        if session.get(ConfiguredFeed, name) is not None:
            raise ConfigurationError(f"There is a feed {name!r} already. Remove it first: segadmin feeds remove {name}")
        label_set = _label_set(session, label_set)
        feed = ConfiguredFeed(name=name, kind=kind, options=dict(options), label_set=label_set)
        if from_now:
            newest = select(func.max(SnapshotSwitch.id)).where(SnapshotSwitch.label_set == label_set)
            feed.sequence, feed.position = session.exec(newest).one() or 0, _END
        session.add(feed)
        session.add(entry("feeds.add", f"feed {name}", kind=kind, label_set=label_set))
    return feed


def remove_feed(settings: Settings, name: str) -> None:
    """Remove a feed and its cursor.

    Raises:
        FeedNotFound: there is no such feed.
    """
    with transaction(settings) as session:
        session.delete(_find(session, name))
        session.add(entry("feeds.remove", f"feed {name}"))


def list_feeds(settings: Settings) -> list[FeedState]:
    """Return all feeds, by name."""
    with reading(settings) as session:
        feeds = session.exec(select(ConfiguredFeed).order_by(ConfiguredFeed.name)).all()
        return [_state(session, feed) for feed in feeds]


def find_feed(settings: Settings, name: str) -> FeedState:
    """Return a feed.

    Raises:
        FeedNotFound: there is no such feed.
    """
    with reading(settings) as session:
        return _state(session, _find(session, name))


def _state(session: Session, feed: ConfiguredFeed) -> FeedState:
    switches = select(SnapshotSwitch).where(
        SnapshotSwitch.label_set == feed.label_set, col(SnapshotSwitch.id) >= feed.sequence
    )
    waiting = [
        row for row in session.exec(switches).all() if row.id != feed.sequence or feed.position < (row.changes or 0)
    ]
    delivered = feed.position if any(row.id == feed.sequence for row in waiting) else 0
    return FeedState(feed, len(waiting), sum(row.changes or 0 for row in waiting) - delivered)


def _find(session: Session, name: str) -> ConfiguredFeed:
    feed = session.get(ConfiguredFeed, name)
    if feed is None:
        names: Sequence[str] = session.exec(select(ConfiguredFeed.name)).all()
        raise FeedNotFound(f"There is no feed {name!r}.{did_you_mean(name, names)} See: segadmin feeds list")
    return feed


def _label_set(session: Session, label_set: str | None) -> str:
    """Return the label set that is meant."""
    known = currents(session)
    if label_set is None and len(known) == 1:
        return next(iter(known))
    if label_set is None:
        names = ", ".join(known) or "none yet; make a snapshot first: segadmin enqueue retrain --wait"
        raise ConfigurationError(f"Whose changes? Add --label-set; there are: {names}.")
    if label_set not in known:
        raise ConfigurationError(f"There is no snapshot for {label_set!r}.{did_you_mean(label_set, known)}")
    return label_set
