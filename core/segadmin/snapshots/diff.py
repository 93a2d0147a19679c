"""Compares two snapshots: who moved from which segment to which, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from sqlmodel import Session, select

from segadmin.errors import ConfigurationError
from segadmin.events.merge import merged_keys
from segadmin.settings import Settings
from segadmin.snapshots.changes import cause_of_departure, causes_of_models
from segadmin.snapshots.policy import Cause
from segadmin.snapshots.read import assignments, bucket_groups, find_snapshot, segments_in
from segadmin.storage.assignments import read_changes
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import NOT_ENOUGH, ModelVersion, SegmentSnapshot
from segadmin.storage.store import known_store

#: Rows that are read at once; of fewer, reading takes longer.
_ROWS_AT_ONCE = 200_000
_CAUSES = pl.Enum([cause.value for cause in Cause])


@dataclass(frozen=True)
class Movement:
    """Users who moved from one segment to another one for the same reason."""

    before: str | None  #: ``None``: not in the earlier snapshot
    after: str | None  #: ``None``: not in the later snapshot
    cause: str  #: a :class:`segadmin.snapshots.policy.Cause`
    users: int


@dataclass(frozen=True)
class SnapshotDiff:
    """The difference of two snapshots of a label set."""

    earlier: SegmentSnapshot
    later: SegmentSnapshot
    segments: tuple[str, ...]  #: of both, those of the later first, in the order of the model
    #: Of either: ``user_key``, ``before``, ``after`` (null: not in it), ``cause`` (null: stayed); some 12 bytes a user.
    users: pl.DataFrame

    @property
    def users_before(self) -> int:
        """Number of users of the earlier snapshot."""
        return self.users["before"].count()

    @property
    def users_after(self) -> int:
        """Number of users of the later snapshot."""
        return self.users["after"].count()

    @property
    def stayed(self) -> int:
        """Number of users who are in both, in the same segment."""
        return self.users["cause"].null_count()

    @cached_property
    def movements(self) -> list[Movement]:
        """The movements, those of most users first. With those who stayed, they add up to the users of either."""
        moved = self.users.filter(pl.col("cause").is_not_null())
        rows = moved.group_by("before", "after", "cause").agg(pl.len().alias("users"))
        ordered = rows.sort("users", "before", "after", "cause", descending=[True, False, False, False])
        return [Movement(**row) for row in ordered.iter_rows(named=True)]

    @cached_property
    def matrix(self) -> dict[tuple[str | None, str | None], int]:
        """Number of users by segment before and after; ``None``: not in that snapshot."""
        counts = self.users.group_by("before", "after").agg(pl.len().alias("users"))
        return {(before, after): users for before, after, users in counts.iter_rows()}


def find_two(
    session: Session, earlier: str | None, later: str, label_set: str | None = None
) -> tuple[SegmentSnapshot, SegmentSnapshot]:
    """Return two snapshots to compare; by default the one that was current before ``later`` is the earlier one.

    Raises:
        ConfigurationError: there is no such snapshot, they are of different label sets, or not in this order.
    """
    second = find_snapshot(session, later, label_set)
    if earlier is None and second.previous_id is None:
        raise ConfigurationError(
            f"Snapshot {second.id} is the first of {second.label_set!r}: there is none to compare it with. "
            f"Make another one: segadmin enqueue refresh --labels {second.label_set} --wait"
        )
    first = find_snapshot(session, str(second.previous_id) if earlier is None else earlier, label_set)
    if first.label_set != second.label_set:
        raise ConfigurationError(
            f"Snapshot {first.id} is of {first.label_set!r}, and snapshot {second.id} of {second.label_set!r}. "
            "Compare two of one label set: segadmin snapshots list"
        )
    if first.id == second.id:
        raise ConfigurationError(f"Snapshot {first.id} is compared with itself. Name two: segadmin snapshots list")
    if (first.id or 0) > (second.id or 0):
        raise ConfigurationError(
            f"Snapshot {first.id} is not older than snapshot {second.id}. Name the older one first: segadmin snapshots "
            f"diff {second.id} {first.id}"
        )
    return first, second


def diff(settings: Settings, earlier: SegmentSnapshot, later: SegmentSnapshot) -> SnapshotDiff:
    """Compare two snapshots of a label set.

    A user moved because of a correction, if people decide in the later one, or because one ended, if they did in the
    earlier one; else because of another definition or model, if the assignments are by different models; else because
    of new events, if the user was scored for them in between; else because of changed items, and else by time alone.
    """
    with reading(settings) as session:
        versions = [session.get_one(ModelVersion, snapshot.model_version_id) for snapshot in (earlier, later)]
        between, buckets = _between(session, earlier, later), known_store(session).buckets
    segments = dict.fromkeys([*versions[1].segments, *versions[0].segments])
    names = pl.Enum(list({**segments, NOT_ENOUGH: None}))
    left = cause_of_departure(merged_keys(settings, later.published_at))
    pair = _Pair(settings, earlier, later, names, between, left)
    rows = earlier.users + (0 if pair.adds_rows else later.users)
    users = pl.concat([_compared(pair, group) for group in bucket_groups(rows, buckets, _ROWS_AT_ONCE)])
    if NOT_ENOUGH in users["before"] or NOT_ENOUGH in users["after"]:
        segments[NOT_ENOUGH] = None
    return SnapshotDiff(earlier, later, tuple(segments), users)


@dataclass(frozen=True)
class _Pair:
    """Two snapshots, and what is known of all users of both."""

    settings: Settings
    earlier: SegmentSnapshot
    later: SegmentSnapshot
    segments: pl.Enum
    between: Sequence[int]  #: snapshots for which users may have been scored meanwhile
    left: pl.Expr  #: why a user is not in the later one

    @property
    def adds_rows(self) -> bool:
        """Whether the later one consists of the rows of the earlier one, and of others for who changed."""
        return self.later.parts[: len(self.earlier.parts)] == self.earlier.parts


def _compared(pair: _Pair, buckets: Sequence[int]) -> pl.DataFrame:
    """Return the columns of ``SnapshotDiff.users`` for the users of some buckets."""
    before, after, stayed = _moved(pair, buckets)
    names = {"segment": "before", "model_version_id": "version_before", "is_corrected": "was_corrected"}
    users = before.rename(names).join(after.rename({"segment": "after"}), on="user_key", how="full", coalesce=True)
    moved = pl.col("before").ne(pl.col("after"))  # null if the user is in one of them only
    pairs = causes_of_models(pair.settings, before, after)
    users = users.join(pairs, on=["version_before", "model_version_id"], how="left", maintain_order="left")
    to_explain = users.filter(moved, pl.col("of_model").is_null()).select("user_key")
    causes = _causes(pair, buckets, to_explain)
    with_cause = (
        pl.when(pl.col("before").is_null())
        .then(pl.lit(Cause.NEW.value))
        .when(pl.col("after").is_null())
        .then(pair.left)
        .when(moved & pl.col("is_corrected"))
        .then(pl.lit(Cause.CORRECTION.value))
        .when(moved & pl.col("was_corrected"))
        .then(pl.lit(Cause.CORRECTION_ENDED.value))
        .when(moved)
        .then(pl.coalesce("of_model", "of_rows", pl.lit(Cause.EVENTS.value)))
    )
    joined = users.join(causes, on="user_key", how="left", maintain_order="left")
    others = joined.select("user_key", "before", "after", cause=with_cause.cast(_CAUSES))
    return pl.concat([stayed, others])


def _moved(pair: _Pair, buckets: Sequence[int]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the users who are not in the same segment of both snapshots, before and after, and those who are.

    If the later one adds rows to those of the earlier one, which is the rule, only these are compared.

    Returns:
        Twice the columns of :func:`segments_in`, with a segment for everybody; and those of ``SnapshotDiff.users``.
    """
    settings, parts = pair.settings, pair.later.parts
    segment = pl.col("segment").fill_null(NOT_ENOUGH).cast(pair.segments)
    before = segments_in(assignments(settings, pair.earlier.id or 0, buckets)).with_columns(segment).collect()
    if pair.adds_rows:
        rows = read_changes(Lake.of(settings), parts[len(pair.earlier.parts) :], buckets)
        changes = segments_in(rows, "has_left").with_columns(segment).collect()
        after = changes.filter(pl.col("has_left").not_()).drop("has_left")
        stayed = before.join(changes, on="user_key", how="anti")
        before = before.join(changes, on="user_key", how="semi")
    else:
        after = segments_in(assignments(settings, pair.later.id or 0, buckets)).with_columns(segment).collect()
        stayed = before.clear()
    same = before.join(after, on=["user_key", "segment"], how="semi")
    before, after = (users.join(same, on="user_key", how="anti") for users in (before, after))
    stayed = pl.concat([stayed, same])
    return before, after, stayed.select("user_key", before="segment", after="segment", cause=pl.lit(None, _CAUSES))


def _between(session: Session, earlier: SegmentSnapshot, later: SegmentSnapshot) -> list[int]:
    """Return the snapshots that only one of two has in its past, itself included."""
    query = select(SegmentSnapshot.id, SegmentSnapshot.previous_id).where(SegmentSnapshot.label_set == later.label_set)
    previous = dict(session.exec(query).all())

    def past(snapshot: SegmentSnapshot) -> set[int]:
        numbers: set[int] = set()
        number = snapshot.id
        while number is not None and number not in numbers:
            numbers.add(number)
            number = previous.get(number)
        return numbers

    return sorted(past(earlier) ^ past(later))


def _causes(pair: _Pair, buckets: Sequence[int], users: pl.DataFrame) -> pl.DataFrame:
    """Return ``user_key`` and ``of_rows``: the first in precedence of why users were scored in between.

    That another model scored them in between, or that a correction began and ended, is no cause.
    """
    of_both = [Cause.DEFINITION.value, Cause.MODEL.value, Cause.CORRECTION.value, Cause.CORRECTION_ENDED.value]
    rank = pl.col("cause").replace_strict({cause.value: rank for rank, cause in enumerate(Cause)}, default=None)
    return (
        Lake.of(pair.settings)
        .scan("assignments", buckets=buckets, snapshot_id=pair.between)
        .filter(pl.col("changed_in") == pl.col("snapshot_id"))
        .filter(~pl.col("cause").is_in(of_both))
        .join(users.lazy(), on="user_key", how="semi")
        .group_by("user_key")
        .agg(pl.col("cause").sort_by(rank).first().alias("of_rows"))
        .collect()
    )
