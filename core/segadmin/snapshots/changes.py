"""What a snapshot changes: the rows that are written for it, and who is where afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from segadmin.events.merge import merged_keys
from segadmin.settings import Settings
from segadmin.snapshots.policy import Cause
from segadmin.snapshots.read import assignments
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import ModelVersion, SegmentSnapshot
from segadmin.storage.schema import ASSIGNMENTS

_SUMMARY = ("bucket", "user_key", "segment", "probability", "overridden_by", "model_segment")
_NEVER = pl.lit(None, ASSIGNMENTS["next_change"])
#: A snapshot consists of the rows of at most so many snapshots: readers open a file of each.
_MAX_PARTS = 64
#: A snapshot is written whole where the rows since the last whole one would be more than this fraction of the users.
_MAX_CHANGED = 0.5


@dataclass(frozen=True)
class Base:
    """A snapshot that holds for the users who are not scored, read once: its probabilities stay in the lake."""

    snapshot: SegmentSnapshot
    users: pl.DataFrame  #: the columns of :attr:`Changes.users`, and ``model_version_id``
    rows: pl.LazyFrame  #: all columns of the same users, to be read of a few

    @classmethod
    def read(cls, settings: Settings, snapshot: SegmentSnapshot) -> Base:
        """Read the users of a snapshot."""
        rows = assignments(settings, snapshot.id or 0)
        return cls(snapshot, rows.select(*_SUMMARY, "model_version_id").collect(), rows)

    def rows_of(self, user_keys: pl.Series) -> pl.LazyFrame:
        """Return the rows of some users; nothing is read for nobody."""
        if user_keys.is_empty():
            return pl.LazyFrame(schema=self.rows.collect_schema())
        return self.rows.filter(pl.col("user_key").is_in(user_keys.implode()))


@dataclass(frozen=True)
class Changes:
    """The rows to write for a snapshot."""

    rows: pl.DataFrame  #: the columns of ``ASSIGNMENTS`` without ``snapshot_id``
    earlier_parts: tuple[int, ...]  #: see :attr:`segadmin.storage.records.SegmentSnapshot.earlier_parts`
    #: All users after it: ``bucket``, ``user_key``, ``segment``, ``probability``, ``overridden_by``, ``model_segment``.
    users: pl.DataFrame
    rescored_by: dict[str, int]  #: cause → users who were scored


def changes_of(
    settings: Settings,
    number: int,
    scored: pl.DataFrame,
    users: pl.DataFrame,
    base: Base | None,
    *,
    unchanged: pl.DataFrame | None = None,
    rewritten: pl.DataFrame | None = None,
) -> Changes:
    """Return the changes of the snapshot ``number``.

    Args:
        settings: location of the store.
        number: of the snapshot.
        scored: the users who were scored, with ``cause``.
        users: ``user_key`` of all users of the store.
        base: the snapshot that holds for everyone else; ``None``: all users were scored.
        unchanged: ``user_key`` and ``next_change`` of users whose text was read and is the same: their rows are written
            again with the moment, so that they are not read again before.
        rewritten: rows of users who were not scored and changed nevertheless, with ``cause``.
    """
    by_cause = dict(scored.group_by("cause").len().sort("len", descending=True).iter_rows())
    marks = {"changed_in": pl.lit(number, pl.Int64), "has_left": pl.lit(value=False)}
    new_rows = pl.concat([_conform(scored), *([] if rewritten is None else [_conform(rewritten)])])
    rows = new_rows.join(users.select("user_key"), on="user_key", how="semi").with_columns(**marks).pipe(_conform)
    if base is None:
        return Changes(rows, (), _summary(rows), by_cause)
    carried = _summary(base.users).join(rows.select("user_key"), on="user_key", how="anti")
    departed = carried.join(users.select("user_key"), on="user_key", how="anti")
    remaining = carried.join(departed.select("user_key"), on="user_key", how="anti")
    everyone = pl.concat([remaining, _summary(rows)])
    renewed = _renewed(base, remaining, unchanged)
    changed = _rows_since_whole(settings, base.snapshot) + rows.height + departed.height + renewed.height
    parts = base.snapshot.parts
    if len(parts) < _MAX_PARTS and changed <= _MAX_CHANGED * everyone.height:
        cause, left = cause_of_departure(merged_keys(settings)), pl.lit(value=True)
        tombstones = departed.select("bucket", "user_key", cause=cause, changed_in=marks["changed_in"], has_left=left)
        written = [rows, _conform(tombstones), _conform(renewed)]
        return Changes(pl.concat(written), tuple(parts), everyone, by_cause)
    others = _kept(base.rows_of(remaining.join(renewed, on="user_key", how="anti")["user_key"])).collect()
    return Changes(pl.concat([_conform(others), _conform(renewed), rows]), (), everyone, by_cause)


def _renewed(base: Base, remaining: pl.DataFrame, unchanged: pl.DataFrame | None) -> pl.DataFrame:
    """Return the rows of ``unchanged`` users with the moment until which their text stays as it is."""
    known = remaining.select("user_key").limit(0).with_columns(next_change=_NEVER)
    if unchanged is not None:
        moments = unchanged.filter(pl.col("next_change").is_not_null())
        known = moments.join(remaining.select("user_key"), on="user_key", how="semi")
    rows = _kept(base.rows_of(known["user_key"])).drop("next_change")
    return rows.join(known.lazy(), on="user_key").collect()


def _kept(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return rows of an earlier snapshot as they are written again, with the snapshot that they are of."""
    return rows.with_columns(changed_in=pl.coalesce("changed_in", "snapshot_id"), has_left=pl.lit(value=False))


def cause_of_departure(merged: pl.Series) -> pl.Expr:
    """Return why users, who were in the snapshot before, are in none now.

    Args:
        merged: see :func:`segadmin.events.merge.merged_keys`.
    """
    is_merged = pl.col("user_key").is_in(merged.implode())
    return pl.when(is_merged).then(pl.lit(Cause.MERGED.value)).otherwise(pl.lit(Cause.LEFT.value))


def cause_of_another_model(before: ModelVersion, now: ModelVersion) -> Cause | None:
    """Return why all users are scored again by ``now``, or ``None`` if it is the same model."""
    if before.id == now.id:
        return None
    return Cause.MODEL if _definition(before) == _definition(now) else Cause.DEFINITION


def causes_of_models(settings: Settings, before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """Return the cause for each pair of model versions that scored the same user.

    Args:
        settings: location of the database.
        before: ``user_key`` and ``model_version_id`` of the users of a snapshot.
        now: the same of a later one.

    Returns:
        ``version_before``, ``model_version_id`` and ``of_model``, which is null where the two are the same.
    """
    versions = before.select("user_key", version_before="model_version_id")
    joined = now.select("user_key", "model_version_id").join(versions, on="user_key")
    pairs = joined.select("version_before", "model_version_id").unique(maintain_order=True).drop_nulls()
    with reading(settings) as session:
        causes = [
            cause_of_another_model(session.get_one(ModelVersion, old), session.get_one(ModelVersion, new))
            for old, new in pairs.iter_rows()
        ]
    return pairs.with_columns(of_model=pl.Series([cause and cause.value for cause in causes], dtype=pl.String))


def with_causes(scored: pl.DataFrame, before: pl.DataFrame, of_models: pl.DataFrame) -> pl.DataFrame:
    """Return ``scored`` with the cause of every user.

    Args:
        scored: scored users; ``cause`` is null where they were not compared with an earlier snapshot.
        before: ``user_key`` and ``model_version_id`` of the users of the snapshot before.
        of_models: :func:`causes_of_models` of both, which go before other causes.
    """
    if "cause" not in scored.columns:  # written by an older release
        scored = scored.with_columns(cause=pl.lit(None, pl.String))
    is_known = pl.col("user_key").is_in(before["user_key"].implode())
    cause = pl.coalesce("of_model", "cause", pl.lit(Cause.EVENTS.value))
    known = before.select("user_key", version_before="model_version_id")
    return (
        scored.join(known, on="user_key", how="left", maintain_order="left")
        .join(of_models, on=["version_before", "model_version_id"], how="left", maintain_order="left")
        .with_columns(cause=pl.when(is_known).then(cause).otherwise(pl.lit(Cause.NEW.value)))
        .drop("version_before", "of_model")
    )


def _rows_since_whole(settings: Settings, snapshot: SegmentSnapshot) -> int:
    """Return the number of rows of ``snapshot`` that are not in the snapshot that was written whole."""
    rows = Lake.of(settings).scan("assignments", snapshot_id=snapshot.parts[1:])
    return int(rows.select(pl.len()).collect().item())


def _definition(version: ModelVersion) -> tuple[object, ...]:
    data = version.manifest.get("data", {})
    return (version.segments, data.get("labeler"), data.get("definition"))


def _summary(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(_SUMMARY)


def _conform(rows: pl.DataFrame) -> pl.DataFrame:
    """Return ``rows`` with the columns that are written; those that are missing are null."""
    return rows.select(
        pl.col(name).cast(dtype) if name in rows.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in ASSIGNMENTS.items()
        if name != "snapshot_id"
    )
