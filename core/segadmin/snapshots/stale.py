"""Which users a refresh reads again, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from segadmin.snapshots.policy import Cause
from segadmin.storage.arrivals import EventChanges
from segadmin.storage.lake import Lake
from segadmin.storage.schema import TIME, time_literal
from segadmin.text.next_change import is_due
from segadmin.text.read_buckets import Group, together
from segadmin.text.reader import read_items
from segadmin.text.recipe import Recipe, Window
from segadmin.text.sources import source_hashes

#: The columns of assignments by which it is decided whose text is read.
BEFORE = ("bucket", "user_key", "scored_as_of", "events_hash", "items_hash", "next_change")


def _all(users: pl.DataFrame) -> pl.DataFrame:
    return users


@dataclass(frozen=True)
class StaleUsers:
    """Finds the users whose assignment may be out of date.

    A user's assignment holds as of ``scored_as_of``. It is out of date if what was in the window of that moment
    changed, or something came later; otherwise only time can have changed the text. It is also out of date if that
    moment is after the window's end: the newest events were removed, and no assignment is of later than its snapshot.

    Events are hashed only where ``changes`` does not say what came in since: that costs as much as reading the whole
    log.
    """

    lake: Lake
    recipe: Recipe
    window: Window
    before: pl.DataFrame  #: assignments, with the columns :data:`BEFORE`
    everyone: bool = False  #: return all users; the cause is what it would be otherwise
    silent: bool = True  #: return users without new events too, if their text may have changed by time
    items_changed: bool = True  #: compare the attributes of items too
    changes: EventChanges | None = None  #: of the events since all assignments were compared; ``None``: not known
    words: pl.DataFrame | None = None  #: :func:`segadmin.text.item_words.item_words` of the recipe
    #: The model that scores them; ``before`` then has ``model_version_id``, and users of another one are out of date.
    version_id: int | None = None
    select: Callable[[pl.DataFrame], pl.DataFrame] = _all  #: returns those of some users who are meant

    def groups(self, buckets: Sequence[int]) -> Iterator[Group]:
        """Yield ``buckets`` in groups that are read together, with :meth:`of_buckets`."""
        if self._to_compare(buckets):  # of all users there, so a group of many would take much memory
            known = dict(self.before.group_by("bucket").len().iter_rows())
            yield from ((group, self.of_buckets(group)) for group in together(known, buckets))
            return
        stale = self.of_buckets(buckets)
        sizes = dict(stale.group_by("bucket").len().iter_rows())
        for group in together(sizes, buckets):
            yield group, stale.filter(pl.col("bucket").is_in(list(group)))

    def of_buckets(self, buckets: Sequence[int]) -> pl.DataFrame:
        """Return ``bucket``, ``user_key`` and ``cause`` of the users to read, in no order."""
        known = self.lake.scan("users", buckets=buckets)
        users = self.select(known.select("bucket", "user_key").unique("user_key", keep="any").collect())
        before = self.before.filter(pl.col("bucket").is_in(list(buckets))).drop("bucket")
        compared = self._to_compare(buckets)
        now = self._hashes(compared, before)
        added = self._added([bucket for bucket in buckets if bucket not in compared], before)
        is_compared, is_hashed = pl.col("bucket").is_in(compared), pl.col("events_hash").is_not_null()
        differs = pl.when(is_compared).then(_differs("events_hash")).otherwise(~is_hashed)
        is_changed = pl.col("is_later").fill_null(value=False) | pl.col("is_added").fill_null(value=False) | differs
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
        is_ahead = pl.col("scored_as_of") > time_literal(self.window.as_of)
        is_old = (cause != Cause.TIME.value) | (self.silent & time_passed) | is_ahead
        is_stale = pl.lit(value=True) if self.everyone else is_old
        return (
            users.join(before, on="user_key", how="left")
            .join(now, on="user_key", how="left")
            .join(added, on="user_key", how="left")
            .filter(is_stale)
            .select("bucket", "user_key", cause=cause)
        )

    def _to_compare(self, buckets: Sequence[int]) -> Sequence[int]:
        """Return the buckets in which the events of every user are compared with what they were."""
        if self.changes is None or self.items_changed:
            return buckets
        return [bucket for bucket in buckets if bucket in self.changes.rewritten]

    def _added(self, buckets: Sequence[int], before: pl.DataFrame) -> pl.DataFrame:
        """Return the users whose window, or the time after it, has new events: ``user_key``, ``is_added``."""
        paths = [] if self.changes is None else self.changes.files(buckets)
        rows = [pl.scan_parquet(path, glob=False).select("user_key", pl.col("at").cast(TIME)) for path in paths]
        events = pl.concat([pl.LazyFrame(schema={"user_key": pl.Int64, "at": TIME}), *rows])
        first = pl.col("scored_as_of") - timedelta(days=self.recipe.window_days)
        return (
            events.filter(pl.col("at") < time_literal(self.window.as_of))
            .join(before.lazy().select("user_key", "scored_as_of"), on="user_key")
            .filter(pl.col("at") >= first)
            .select("user_key", is_added=pl.lit(value=True))
            .unique("user_key")
            .collect()
        )

    def _hashes(self, buckets: Sequence[int], before: pl.DataFrame) -> pl.DataFrame:
        """Return of users with events: the hashes now, in the window as of which they were scored; ``is_later``."""
        if not buckets:  # looking for no file in a long list of files takes time too
            return pl.DataFrame(schema={"user_key": pl.Int64, "is_later": pl.Boolean, "events_hash_now": pl.Int64})
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
        items = read_items(self.lake, self.recipe, self.words) if self.items_changed else None
        hashes = source_hashes(events.filter(~pl.col("is_later")), items)
        later = events.group_by("user_key").agg(pl.col("is_later").any())
        return later.join(hashes, on="user_key", how="left").rename(
            {name: f"{name}_now" for name in hashes.columns if name != "user_key"}
        )

    def _first_moment(self, before: pl.DataFrame) -> pl.Expr:
        """Return the beginning of the earliest window that somebody was scored in."""
        earliest = before.select(pl.col("scored_as_of").min()).item()
        return time_literal((earliest or self.window.as_of) - timedelta(days=self.recipe.window_days))


def to_score(users: pl.DataFrame, before: pl.LazyFrame) -> pl.DataFrame:
    """Return the users who are scored: not those whose text is the same although time passed.

    Args:
        users: texts, with ``cause`` and ``as_of``.
        before: assignments by the same model.
    """
    silent = users.filter(pl.col("cause") == Cause.TIME.value).select("user_key", "phrase_hash", "as_of")
    matching = before.join(silent.lazy(), on=["user_key", "phrase_hash"])
    same = matching.filter(pl.col("scored_as_of") <= pl.col("as_of")).select("user_key").collect()
    return users.join(same, on="user_key", how="anti")


def _differs(name: str) -> pl.Expr:
    """Whether a hash differs; that of an older release, which is null, differs from every other."""
    return pl.col(name).ne_missing(pl.col(f"{name}_now").fill_null(0))
