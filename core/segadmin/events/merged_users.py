"""Users who were merged into another one: whatever comes under their keys belongs to that one.

A user may be merged into one who was merged too. The last of such a chain is the root, whose key rows have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from sqlmodel import Session, col, or_, select

from segadmin.hashing import bucket_of
from segadmin.storage.lake import Lake
from segadmin.storage.records import MergeState, UserMerge
from segadmin.storage.schema import CAME_AS

_KEYS = {"user_key": pl.Int64, "root": pl.Int64}


@dataclass(frozen=True)
class MergedUsers:
    """Which user was merged into which."""

    into: Mapping[int, int]  #: key → the key that it was merged into

    @classmethod
    def of(cls, lake: Lake) -> MergedUsers:
        """Return the merged users of a store."""
        return cls(dict(lake.scan("merged_users").select("user_key", "merged_into").collect().iter_rows()))

    @classmethod
    def among(cls, session: Session, keys: Iterable[int]) -> MergedUsers:
        """Return the merges of some users and of all who were merged with them: a few short queries for few users."""
        into, seen, waiting = dict[int, int](), set[int](), set(keys)
        done = UserMerge.state == MergeState.MERGED
        while waiting:
            seen |= waiting
            either = or_(col(UserMerge.old_key).in_(waiting), col(UserMerge.new_key).in_(waiting))
            pairs = session.exec(select(UserMerge.old_key, UserMerge.new_key).where(done, either)).all()
            into |= dict(pairs)
            waiting = {key for pair in pairs for key in pair} - seen
        return cls(into)

    def root(self, key: int) -> int:
        """Return the user to whom the rows of ``key`` belong; itself if it was not merged."""
        while key in self.into:
            key = self.into[key]
        return key

    def group(self, key: int) -> set[int]:
        """Return all keys whose rows belong to the same user as those of ``key``, itself included."""
        return self.below(self.root(key))

    def below(self, key: int) -> set[int]:
        """Return ``key`` and all keys that were merged into it, also into one that was."""
        keys, waiting = set[int](), [key]
        while waiting:
            keys.add(last := waiting.pop())
            waiting += self._merged_into.get(last, [])
        return keys

    @cached_property
    def _merged_into(self) -> Mapping[int, list[int]]:
        merged = defaultdict[int, list[int]](list)
        for old, new in self.into.items():
            merged[new].append(old)
        return merged


def root_keys(lake: Lake) -> pl.DataFrame:
    """Return ``user_key`` and ``root`` of every merged user."""
    roots = lake.scan("merged_users").select("user_key", root="merged_into").collect()
    while True:
        further = roots.select(root="user_key", next="root")
        roots = roots.join(further, on="root", how="left")
        if roots["next"].null_count() == roots.height:
            return roots.drop("next")
        roots = roots.select("user_key", root=pl.coalesce("next", "root"))


def roots_of(merged: MergedUsers, keys: Iterable[int]) -> pl.DataFrame:
    """Return ``user_key`` and ``root`` of those of ``keys`` that were merged."""
    rows = [(key, root) for key in keys if (root := merged.root(key)) != key]
    return pl.DataFrame(rows, schema=_KEYS, orient="row")


def under_roots(rows: pl.LazyFrame, roots: pl.DataFrame, buckets: int) -> pl.LazyFrame:
    """Return ``rows`` with the keys and buckets of the root users, and the keys that they came under.

    Args:
        rows: ``user_key`` is the key that each came under.
        roots: see :func:`root_keys`.
        buckets: number of buckets of the store.
    """
    moved = pl.col("root").is_not_null()
    joined = rows.join(roots.lazy(), on="user_key", how="left", maintain_order="left")
    key = pl.coalesce("root", "user_key")
    columns = {CAME_AS: pl.when(moved).then("user_key"), "user_key": key, "bucket": bucket_of(key, buckets)}
    return joined.with_columns(**columns).with_columns(pl.col("bucket").cast(pl.Int32)).drop("root")
