"""The current segment of single users, from an index in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from segadmin.hashing import bucket_of
from segadmin.settings import Settings
from segadmin.snapshots.policy import Override
from segadmin.snapshots.read import assignments, bucket_groups, find_snapshot
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import SegmentSnapshot
from segadmin.storage.store import known_store

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from segadmin.events.merged_users import MergedUsers

#: Users who are read at once.
_AT_ONCE = 100_000


@dataclass(frozen=True)
class CurrentSegment:
    """What the current snapshot has of a user."""

    label_set: str
    snapshot_id: int
    as_of: datetime
    model_version_id: int
    segment: str | None  #: ``None``: too little is known of the user
    probabilities: dict[str, float]  #: by segment, in the model's order
    corrected: bool = False  #: whether a person set the segment


@dataclass(frozen=True)
class _Users:
    """The users of some buckets of a snapshot, sorted by key."""

    keys: NDArray[np.int64]
    segment: NDArray[np.int16]  #: index into the segments; -1: unassigned
    probabilities: NDArray[np.float32]  #: ``(users, segments)``
    model_versions: NDArray[np.int64]
    corrected: NDArray[np.bool_]


@dataclass(frozen=True)
class _Index:
    """The users of a snapshot."""

    snapshot_id: int
    lake_version: int | None  #: changes when users are erased
    label_set: str
    as_of: datetime
    segments: tuple[str, ...]
    merged: MergedUsers
    groups: list[_Users]  #: each of ``width`` buckets, the last one perhaps of fewer
    width: int
    buckets: int  #: of the store

    def find(self, key: int) -> CurrentSegment | None:
        """Return what is known of a user, or of the user into whom they were merged, or ``None``."""
        users = self.groups[bucket_of(key, self.buckets) // self.width]
        row = int(users.keys.searchsorted(key))
        if row == len(users.keys) or users.keys[row] != key:
            root = self.merged.root(key)
            return None if root == key else self.find(root)
        number = int(users.segment[row])
        return CurrentSegment(
            label_set=self.label_set,
            snapshot_id=self.snapshot_id,
            as_of=self.as_of,
            model_version_id=int(users.model_versions[row]),
            segment=None if number < 0 else self.segments[number],
            probabilities=dict(zip(self.segments, map(float, users.probabilities[row]), strict=True)),
            corrected=bool(users.corrected[row]),
        )


class SegmentLookup:
    """Finds the current segment of a user in some microseconds; a new snapshot or an erasure is noticed at once.

    A million users take some 30 MB.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._indexes: dict[str, _Index] = {}

    def find(self, keys: list[int], label_set: str | None = None) -> CurrentSegment | None:
        """Return the current segment of the first of ``keys`` that is known, or ``None``.

        Raises:
            DataError: there are no snapshots yet.
            ConfigurationError: there is none of this label set, or there are several label sets and none was named.
        """
        index = self._index(label_set)
        return next((current for key in keys if (current := index.find(key)) is not None), None)

    def _index(self, label_set: str | None) -> _Index:
        with reading(self._settings) as session:
            from segadmin.snapshots.segment_order import orders_of

            snapshot = find_snapshot(session, "current", label_set)
            version = Lake.of(self._settings).version("assignments")
            index = self._indexes.get(snapshot.label_set)
            if index is not None and (index.snapshot_id, index.lake_version) == (snapshot.id, version):
                return index
            orders, buckets = orders_of(session, snapshot), known_store(session).buckets
        with self._lock:  # one thread reads the snapshot, the others wait for it
            index = self._indexes.get(snapshot.label_set)
            if index is None or (index.snapshot_id, index.lake_version) != (snapshot.id, version):
                index = self._indexes[snapshot.label_set] = self._read(snapshot, version, orders, buckets)
            return index

    def _read(
        self, snapshot: SegmentSnapshot, version: int | None, orders: dict[int, list[str]], buckets: int
    ) -> _Index:
        from segadmin.events.merged_users import MergedUsers

        assert snapshot.id is not None
        groups = bucket_groups(snapshot.users, buckets, _AT_ONCE)
        return _Index(
            snapshot_id=snapshot.id,
            lake_version=version,
            label_set=snapshot.label_set,
            as_of=snapshot.as_of,
            segments=tuple(next(iter(orders.values()))),  # of the snapshot's model
            merged=MergedUsers.of(Lake.of(self._settings)),
            groups=[_users(assignments(self._settings, snapshot.id, group), orders) for group in groups],
            width=len(groups[0]),
            buckets=buckets,
        )


def _users(rows: pl.LazyFrame, orders: dict[int, list[str]]) -> _Users:
    import numpy as np
    import polars as pl

    from segadmin.snapshots.segment_order import in_order

    segments = next(iter(orders.values()))
    columns = ("user_key", "segment", in_order(orders, segments), "model_version_id", "overridden_by")
    users = rows.select(*columns).sort("user_key").collect()
    numbers = users["segment"].replace_strict(segments, list(range(len(segments))), default=-1)
    return _Users(
        keys=users["user_key"].to_numpy(),
        segment=numbers.fill_null(-1).to_numpy().astype(np.int16),
        probabilities=users["probabilities"].cast(pl.Array(pl.Float32, len(segments))).to_numpy(),
        model_versions=users["model_version_id"].to_numpy(),
        corrected=(users["overridden_by"] == Override.CORRECTION.value).fill_null(value=False).to_numpy(),
    )
