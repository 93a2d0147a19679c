"""One user: the segment in every snapshot, and the text that the model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import polars as pl
from sqlmodel import Session, col, select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError, UserNotFound
from segadmin.events.keys import candidate_keys
from segadmin.events.merge import list_merges
from segadmin.events.merged_users import MergedUsers
from segadmin.hashing import bucket_of
from segadmin.labels.label_sets import after, latest_event
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings
from segadmin.snapshots.read import currents
from segadmin.storage.database import reading
from segadmin.storage.file_keys import may_have
from segadmin.storage.lake import Lake
from segadmin.storage.records import (
    NOT_ENOUGH,
    MergeState,
    ModelVersion,
    SegmentSnapshot,
    SnapshotState,
    UserMerge,
)
from segadmin.storage.store import NO_EVENTS, check_store, compare_keys, known_store
from segadmin.text.item_words import item_words
from segadmin.text.reader import read_items, read_users

#: The columns of assignments that :class:`Assigned` is made from.
_SHOWN = ("snapshot_id", "model_version_id", "segment", "probabilities", "has_left", "overridden_by", "model_segment")


#: What is needed of every published snapshot; a whole row has much more.
_PUBLISHED = (
    select(SegmentSnapshot.id, SegmentSnapshot.label_set, SegmentSnapshot.as_of, SegmentSnapshot.earlier_parts)
    .where(SegmentSnapshot.state == SnapshotState.PUBLISHED)
    .order_by(col(SegmentSnapshot.id).desc())
)


class Published(NamedTuple):
    """A published snapshot."""

    id: int
    label_set: str
    as_of: datetime


@dataclass(frozen=True)
class Assigned:
    """The assignment of a user in one snapshot."""

    snapshot_id: int
    label_set: str
    current: bool  #: whether it is the label set's current snapshot
    as_of: str  #: of the snapshot, ISO 8601
    model_version_id: int
    segment: str
    probabilities: dict[str, float]  #: by segment, in the model's order
    overridden_by: str | None = None  #: what decided instead of the model, see ``segadmin.snapshots.policy.Override``
    model_segment: str | None = None  #: the segment by the model, if something else decided


def find_user(settings: Settings, user_id: str) -> int:
    """Return the key of a user, given as the shop's id or a pseudonym of 16 hex digits.

    Of a user who was merged it is the key of the user whose rows are the other's now.

    Raises:
        UserNotFound: there is no such user.
        DataError: there are no events, or the id cannot be one.
        SegadminError: the secret or the folder is not the store's; see :func:`segadmin.storage.store.check_store`.
    """
    if (store := compare_keys(settings) or check_store(settings)) is None:
        raise DataError(NO_EVENTS)
    candidates = candidate_keys(settings.secret(), user_id)
    lake, buckets = Lake.of(settings), {bucket_of(key, store.buckets) for key in candidates}
    users = lake.scan("users", buckets=sorted(buckets)).filter(pl.col("user_key").is_in(candidates))
    known_keys = users.select("user_key").collect()["user_key"].to_list()
    merged = MergedUsers.of(lake)
    for key in candidates:
        if key in known_keys or key in merged.into:
            return merged.root(key)
    raise UserNotFound(unknown_user(user_id))


def unknown_user(user_id: str) -> str:
    """Return the message that there is no such user."""
    return (
        f"There is no user {user_id!r}. Give the shop's own id, as it was imported, or a pseudonym of 16 hex digits, "
        "as in: segadmin snapshots export --out users.csv"
    )


def history(settings: Settings, key: int) -> list[Assigned]:
    """Return the user's segment in every published snapshot, newest first."""
    with reading(settings) as session:
        snapshots = session.exec(_PUBLISHED).all()
        current = set(currents(session).values())
        bucket = bucket_of(key, known_store(session).buckets)
    rows = Lake.of(settings).scan("assignments", buckets=[bucket], file_filter=partial(may_have, user_key=key))
    rows = rows.filter(pl.col("user_key") == key).select(_SHOWN)
    by_part = {row["snapshot_id"]: row for row in rows.collect().iter_rows(named=True)}
    with reading(settings) as session:  # of the version that scored the user: of one snapshot there may be two
        versions = {row["model_version_id"] for row in by_part.values() if not row["has_left"]}
        segments = {version: session.get_one(ModelVersion, version).segments for version in versions}
    return [
        Assigned(
            snapshot_id=number,
            label_set=label_set,
            current=number in current,
            as_of=as_of.isoformat(),
            model_version_id=row["model_version_id"],
            segment=row["segment"] or NOT_ENOUGH,
            probabilities=dict(zip(segments[row["model_version_id"]], row["probabilities"], strict=True)),
            overridden_by=row["overridden_by"],
            model_segment=(row["model_segment"] or NOT_ENOUGH) if row["overridden_by"] else None,
        )
        for number, label_set, as_of, earlier_parts in snapshots
        if number is not None and (row := _valid(by_part, [*earlier_parts, number])) is not None
    ]


def published_snapshots(session: Session) -> list[Published]:
    """Return all published snapshots, newest first, whether a user is in them or not."""
    return [Published(number or 0, label_set, as_of) for number, label_set, as_of, _ in session.exec(_PUBLISHED)]


def merged_into(settings: Settings, key: int) -> list[UserMerge]:
    """Return the merges by which other users' rows became rows of the user, the newest first."""
    group = MergedUsers.of(Lake.of(settings)).group(key) - {key}
    return [merge for merge in list_merges(settings) if merge.old_key in group and merge.state == MergeState.MERGED]


def known_at(rows: Sequence[Assigned], moment: datetime) -> list[Assigned]:
    """Return of :func:`history` the row of each label set that was the newest at ``moment``, by ``as_of``."""
    newest: dict[str, Assigned] = {}
    for row in rows:  # the newest first
        if datetime.fromisoformat(row.as_of) <= moment:
            newest.setdefault(row.label_set, row)
    return list(newest.values())


def _valid(by_part: Mapping[int, dict[str, Any]], parts: Sequence[int]) -> dict[str, Any] | None:
    """Return the row of a user that holds in the snapshot of ``parts``; ``None`` if the user is not in it."""
    row = next((by_part[part] for part in reversed(parts) if part in by_part), None)
    return None if row is None or row["has_left"] else row


def read_text(settings: Settings, key: int, model_version_id: int) -> list[str]:
    """Return the current phrases of a user in the recipe of a model version, the most informative first."""
    with reading(settings) as session:
        recipe = manifest_of(session.get_one(ModelVersion, model_version_id)).recipe
    lake = Lake.of(settings)
    plugins = load_plugins(settings)
    textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
    window = recipe.window(after(latest_event(lake)))
    user = pl.DataFrame({"user_key": [key]}, schema={"user_key": pl.Int64})
    items = read_items(lake, recipe, item_words(plugins, lake, recipe))
    read = read_users(lake, _bucket(settings, key), window, recipe, textualizer=textualizer, users=user, items=items)
    phrases: list[str] = read.users["phrases"][0].to_list()
    return phrases


def _bucket(settings: Settings, key: int) -> int:
    with reading(settings) as session:
        return bucket_of(key, known_store(session).buckets)
