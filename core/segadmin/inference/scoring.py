"""Scores users in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import polars as pl

from segadmin.contracts.backbone import no_progress
from segadmin.inference.predictor import Predictor
from segadmin.storage.schema import ASSIGNMENTS

#: Users scored at a time, which bounds memory.
_BATCH = 8192
#: Users whose texts are in memory at a time, about: whole buckets are read.
_PIECE = 32_768
#: The columns of assignments in the lake, without those that publishing adds.
_OF_SNAPSHOTS = {"snapshot_id", "changed_in", "has_left", "overridden_by", "model_segment"}
SCORES = {name: kind for name, kind in ASSIGNMENTS.items() if name not in _OF_SNAPSHOTS}
#: The columns that users may have besides the texts, and that are kept with their segments.
_KEPT = ("events_hash", "items_hash", "cause", "next_change")


def pieces_of(texts: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield ``texts`` by ``bucket`` and ``user_key``, in pieces of whole buckets: one piece at a time is in memory."""
    sizes = texts.group_by("bucket").len("users").sort("bucket").collect()
    piece = (pl.col("users").cum_sum() - pl.col("users")) // _PIECE
    ends = sizes.group_by(piece.alias("piece"), maintain_order=True).agg(
        pl.col("bucket").min().alias("first"), pl.col("bucket").max().alias("last")
    )
    for first, last in ends.select("first", "last").iter_rows():
        yield texts.filter(pl.col("bucket").is_between(first, last)).sort("bucket", "user_key").collect()


def scored_batches(
    users: pl.DataFrame,
    predictor: Predictor,
    version_id: int,
    *,
    call: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[float, str], None] = no_progress,
    before: int = 0,
    total: int = 0,
) -> Iterator[pl.DataFrame]:
    """Yield the segments of ``users`` in batches, with the columns of :data:`SCORES`.

    Args:
        users: ``bucket``, ``user_key``, ``as_of``, ``phrases``, ``phrase_hash``, ``features``; of a refresh also
            ``events_hash``, ``items_hash``, ``cause`` and ``next_change``.
        predictor: of the model version.
        version_id: the number of that version.
        call: returns a context in which the model is called.
        progress: called with the fraction done and a short note.
        before: number of users that are done, for the progress.
        total: number of all users, for the progress; default: ``before`` and ``users``.
    """
    total = total or before + users.height
    for start in range(0, users.height, _BATCH):
        batch = users.slice(start, _BATCH)

        def batch_progress(
            fraction: float, _note: str = "", done: int = before + start, size: int = batch.height
        ) -> None:
            progress((done + fraction * size) / total, f"{done} of {total} users scored")

        with call():
            segments = predictor.segment(batch, batch_progress)
        keys = batch.select(
            "bucket",
            "user_key",
            "phrase_hash",
            pl.lit(version_id, pl.Int64).alias("model_version_id"),
            pl.col("as_of").alias("scored_as_of"),
            *(name if name in batch.columns else pl.lit(None).alias(name) for name in _KEPT),
        )
        yield keys.hstack(segments).select(pl.col(name).cast(kind) for name, kind in SCORES.items())
    progress((before + users.height) / total, f"{before + users.height} of {total} users scored")
