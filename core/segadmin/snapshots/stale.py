"""Which users a refresh reads again, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from segadmin.snapshots.policy import Cause
from segadmin.storage.lake import Lake
from segadmin.storage.schema import time_literal
from segadmin.text.next_change import is_due
from segadmin.text.reader import attributes
from segadmin.text.recipe import Recipe, Window
from segadmin.text.sources import source_hashes

#: The columns of assignments by which it is decided whose text is read.
BEFORE = ("bucket", "user_key", "scored_as_of", "events_hash", "items_hash", "next_change")
#: Buckets with up to so many users are read together.
_TOGETHER = 5_000


def _all(users: pl.DataFrame) -> pl.DataFrame:
    return users


@dataclass(frozen=True)
class StaleUsers:
    """Finds the users whose assignment may be out of date.

    A user's assignment holds as of ``scored_as_of``. It is out of date if what was in the window of that moment
    changed, or something came later; otherwise only time can have changed the text.
    """

    lake: Lake
    recipe: Recipe
    window: Window
    before: pl.DataFrame  #: assignments, with the columns :data:`BEFORE`
    everyone: bool = False  #: return all users; the cause is what it would be otherwise
    silent: bool = True  #: return users without new events too, if their text may have changed by time
    items_changed: bool = True  #: compare the attributes of items too
    words: pl.DataFrame | None = None  #: :func:`segadmin.text.item_words.item_words` of the recipe
    #: The model that scores them; ``before`` then has ``model_version_id``, and users of another one are out of date.
    version_id: int | None = None
    select: Callable[[pl.DataFrame], pl.DataFrame] = _all  #: returns those of some users who are meant

    def groups(self, buckets: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield ``buckets`` in groups that are read together: of small buckets, opening the files takes most time."""
        known = dict(self.before.group_by("bucket").len().iter_rows())
        group: list[int] = []
        users = 0
        for bucket in buckets:
            if group and users + known.get(bucket, 0) > _TOGETHER:
                yield group
                group, users = [], 0
            group.append(bucket)
            users += known.get(bucket, 0)
        if group:
            yield group

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return ``bucket``, ``user_key`` and ``cause`` of the users to read, in no order."""
        known = self.lake.scan("users", buckets=buckets)
        users = self.select(known.select("bucket", "user_key").unique("user_key", keep="any").collect())
        before = self.before.filter(pl.col("bucket").is_in(list(buckets))).drop("bucket")
        now = self._hashes(buckets, before)
        is_changed = pl.col("is_later").fill_null(value=False) | _differs("events_hash")
        cause = (
            pl.when(pl.col("scored_as_of").is_null())
            .then(pl.lit(Cause.NEW.value))
            .when(pl.lit(value=False) if self.version_id is None else pl.col("model_version_id") != self.version_id)
            .then(pl.lit(Cause.MODEL.value))
            .when(is_changed)
            .then(pl.lit(Cause.EVENTS.value))
            .when(_differs("items_hash") if self.items_changed else pl.lit(value=False))
            .then(pl.lit(Cause.ITEMS.value))
            .otherwise(pl.lit(Cause.TIME.value))
        )
        time_passed = (pl.col("scored_as_of") < time_literal(self.window.as_of)) & is_due(self.window.as_of)
        is_stale = pl.lit(value=True) if self.everyone else (cause != Cause.TIME.value) | (self.silent & time_passed)
        return (
            users.join(before, on="user_key", how="left")
            .join(now, on="user_key", how="left")
            .filter(is_stale)
            .select("bucket", "user_key", cause=cause)
        )

    def _hashes(self, buckets: Sequence[int], before: pl.DataFrame) -> pl.DataFrame:
        """Return of users with events: the hashes now, in the window as of which they were scored; ``is_later``."""
        columns = ["user_key", "event_id", "at", *(["item"] if self.items_changed else [])]
        end = pl.col("scored_as_of")
        events = (
            self.lake.scan("events", buckets=buckets)
            .filter(pl.col("at").is_between(self._first_moment(before), time_literal(self.window.as_of), closed="left"))
            .select(columns)
            .join(before.lazy().select("user_key", "scored_as_of"), on="user_key")
            .filter(pl.col("at") >= end - timedelta(days=self.recipe.window_days))
            .with_columns(is_later=pl.col("at") >= end)
            .collect()
        )
        items = self._items() if self.items_changed else None
        hashes = source_hashes(events.filter(~pl.col("is_later")), items)
        later = events.group_by("user_key").agg(pl.col("is_later").any())
        return later.join(hashes, on="user_key", how="left").rename(
            {name: f"{name}_now" for name in hashes.columns if name != "user_key"}
        )

    def _first_moment(self, before: pl.DataFrame) -> pl.Expr:
        """Return the beginning of the earliest window that somebody was scored in."""
        earliest = before.select(pl.col("scored_as_of").min()).item()
        return time_literal((earliest or self.window.as_of) - timedelta(days=self.recipe.window_days))

    def _items(self) -> pl.DataFrame:
        return attributes(self.lake.scan("items"), self.recipe, self.words).collect()


def to_score(users: pl.DataFrame, before: pl.LazyFrame) -> pl.DataFrame:
    """Return the users who are scored: not those whose text is the same although time passed.

    Args:
        users: texts, with ``cause``.
        before: assignments by the same model.
    """
    silent = users.filter(pl.col("cause") == Cause.TIME.value).select("user_key", "phrase_hash")
    same = before.join(silent.lazy(), on=["user_key", "phrase_hash"], how="semi").select("user_key").collect()
    return users.join(same, on="user_key", how="anti")


def _differs(name: str) -> pl.Expr:
    """Whether a hash differs; that of an older release, which is null, differs from every other."""
    return pl.col(name).ne_missing(pl.col(f"{name}_now").fill_null(0))
