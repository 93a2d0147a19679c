"""Puts the rows of some users under the keys of the users into whom they were merged, or back.

Where a row belongs follows from the key that it came under, and from who was merged into whom. So one function merges
and undoes. Running it twice changes nothing more, and one that was killed is completed by running it again. Rows that
a user would have twice are kept aside, so that no row is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import polars as pl

from segadmin.events.ids import ids_under
from segadmin.events.merged_users import MergedUsers, root_keys, roots_of, under_roots
from segadmin.hashing import bucket_of
from segadmin.storage.lake import Lake, equals
from segadmin.storage.schema import CAME_AS, MERGED_USERS, SCHEMAS, USERS

#: By which columns a row repeats a row that came under another key: an event as in imports, a label of one moment.
_SAME_EVENT, _SAME_LABEL = ("user_key", "event_id"), ("user_key", "label_set", "as_of")
#: Where duplicates of each table are kept.
DUPLICATES = {"events": "event_duplicates", "labels": "label_duplicates"}
#: Rows to keep, under the keys of the root users; and duplicates, under the keys that they came under.
_Settled = tuple[pl.DataFrame, pl.DataFrame]


def place_rows(lake: Lake, merged: MergedUsers, keys: set[int], buckets: int) -> None:
    """Put the rows of ``keys`` where they belong; events, like each of the other tables, in one commit.

    A row that leaves a table is written to the other one before, so it is always in one of them.

    Args:
        lake: the lake, whose import lock is held.
        merged: who is merged into whom, including all of ``keys`` who are.
        keys: with every user, all users with the same root, before or after.
        buckets: number of buckets of the store.
    """
    roots = roots_of(merged, keys)
    users, away = (_of_users(lake, table, keys, buckets) for table in ("users", "merged_users"))
    known = pl.concat([users, away.select(USERS.names())]).unique("user_key")
    stay = known.join(roots, on="user_key", how="anti")
    leave = _with_targets(known.join(roots, on="user_key", how="semi"), merged)
    both = pl.concat([leave, away.join(leave, on="user_key", how="anti")])
    _replace(lake, "merged_users", away, both)
    _place(lake, "events", keys, buckets, lambda rows: _settle_events(rows, roots, buckets))
    _place(lake, "labels", keys, buckets, lambda rows: settle_labels(rows, roots, buckets))
    _replace(lake, "users", users, stay)
    _replace(lake, "merged_users", both, leave)


def count_moved(lake: Lake, keys: set[int], buckets: int) -> dict[str, Counter[int]]:
    """Return by former key how many rows of ``keys`` are another user's now; see ``UserMerge.moved``."""
    moved = {table: _of_users(lake, table, keys, buckets)[CAME_AS].drop_nulls() for table in DUPLICATES}
    aside = [_of_users(lake, table, keys, buckets)["user_key"] for table in DUPLICATES.values()]
    return {name: Counter(came_as.to_list()) for name, came_as in (moved | {"duplicates": pl.concat(aside)}).items()}


def rekeyed(events: pl.DataFrame) -> pl.DataFrame:
    """Return events that are under the keys of root users, with ids of their former keys, with the ids of the new."""
    came_as = events[CAME_AS].fill_null(events["user_key"])
    return events.with_columns(ids_under(events.with_columns(came_as.alias("user_key")), events["user_key"]))


def settle_labels(labels: pl.DataFrame, roots: pl.DataFrame, buckets: int) -> _Settled:
    """Return labels under the keys of root users, one user's for each moment: the root's own, if there are any."""
    return _divide(labels, under_roots(labels.lazy(), roots, buckets).collect(), _SAME_LABEL)


def put_labels(lake: Lake, labels: pl.DataFrame, label_set: str, buckets: int) -> None:
    """Replace a label set by ``labels``, which are under the keys that they came under."""
    duplicates = labels.clear()
    if (roots := root_keys(lake)).height:
        labels, duplicates = settle_labels(labels, roots, buckets)
    lake.delete("label_duplicates", equals("label_set", label_set))
    if duplicates.height:
        lake.append("label_duplicates", duplicates)
    lake.replace_partition("labels", labels, "label_set", label_set)


def _settle_events(events: pl.DataFrame, roots: pl.DataFrame, buckets: int) -> _Settled:
    return _divide(events, rekeyed(under_roots(events.lazy(), roots, buckets).collect()), _SAME_EVENT)


def _divide(originals: pl.DataFrame, rows: pl.DataFrame, same: tuple[str, ...]) -> _Settled:
    """Return of ``rows`` those of the first user who has each, and the ``originals`` of the others."""
    own_first = [pl.col(CAME_AS).is_not_null(), pl.col(CAME_AS)]
    came_as = pl.coalesce(CAME_AS, "user_key")
    is_kept = rows.select(came_as == came_as.sort_by(own_first).first().over(same)).to_series()
    return rows.filter(is_kept), originals.filter(~is_kept)


def _place(lake: Lake, table: str, keys: set[int], buckets: int, settle: Callable[[pl.DataFrame], _Settled]) -> None:
    """Put the rows of ``table`` where they belong, and duplicates into the table for those."""
    aside = DUPLICATES[table]
    rows, kept_aside = (_of_users(lake, name, keys, buckets) for name in (table, aside))
    originals = _as_they_came(rows, table, buckets)
    # A run that was killed may have left a row in both.
    only_aside = kept_aside.join(originals, on=_identity(table), how="anti", nulls_equal=True)
    kept, duplicates = settle(pl.concat([originals, only_aside]))
    both = pl.concat([duplicates, kept_aside.join(duplicates, on=_identity(table), how="anti", nulls_equal=True)])
    _replace(lake, aside, kept_aside, both)
    _replace(lake, table, rows, kept.select(SCHEMAS[table].names()))
    _replace(lake, aside, both, duplicates)


def _as_they_came(rows: pl.DataFrame, table: str, buckets: int) -> pl.DataFrame:
    """Return ``rows`` under the keys that they came under."""
    came_as = rows[CAME_AS].fill_null(rows["user_key"])
    ids = [ids_under(rows, came_as)] if table == "events" else []
    bucket = bucket_of(pl.col("user_key"), buckets).cast(pl.Int32)
    named = rows.with_columns(came_as.alias("user_key"), *ids, pl.lit(None, pl.Int64).alias(CAME_AS))
    return named.with_columns(bucket=bucket)


def _identity(table: str) -> list[str]:
    return list(_SAME_EVENT) if table == "events" else [name for name in SCHEMAS[table].names() if name != CAME_AS]


def _with_targets(users: pl.DataFrame, merged: MergedUsers) -> pl.DataFrame:
    """Return rows of ``merged_users`` for merged ``users``."""
    into = pl.Series("merged_into", [merged.into[key] for key in users["user_key"]], dtype=pl.Int64)
    return users.with_columns(into).select(MERGED_USERS.names())


def _of_users(lake: Lake, table: str, keys: set[int], buckets: int) -> pl.DataFrame:
    of_buckets = sorted({bucket_of(key, buckets) for key in keys})
    rows = lake.scan(table, buckets=of_buckets).filter(pl.col("user_key").is_in(list(keys)))
    return rows.select(SCHEMAS[table].names()).collect()


def _replace(lake: Lake, table: str, before: pl.DataFrame, after: pl.DataFrame) -> None:
    """Replace the rows ``before`` of ``table``, which are all of their users, by ``after``, in one commit."""
    names = SCHEMAS[table].names()
    if before.sort(names).equals(after.sort(names)):
        return
    users = pl.concat([before.select("bucket", "user_key"), after.select("bucket", "user_key")])
    buckets, keys = (", ".join(map(str, users[name].unique().sort())) for name in ("bucket", "user_key"))
    predicate = f"bucket IN ({buckets}) AND user_key IN ({keys})"
    if after.is_empty():
        lake.delete(table, predicate)
    elif before.is_empty():
        lake.append(table, after)
    else:
        lake.replace_rows(table, after, predicate)
