"""Scores users in batches; assignments of users with unchanged text are carried forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import polars as pl

from segadmin.contracts.backbone import no_progress
from segadmin.inference.predictor import Predictor
from segadmin.storage.schema import ASSIGNMENTS

#: Users scored at a time, which bounds memory.
_BATCH = 8192
#: The columns of assignments in the lake, without the snapshot's number, which publishing adds.
SCORES = {name: kind for name, kind in ASSIGNMENTS.items() if name != "snapshot_id"}


def scored_batches(
    users: pl.DataFrame,
    predictor: Predictor,
    version_id: int,
    *,
    call: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[float, str], None] = no_progress,
) -> Iterator[pl.DataFrame]:
    """Yield the segments of ``users`` in batches, with the columns of :data:`SCORES`.

    Args:
        users: ``bucket``, ``user_key``, ``as_of``, ``phrases``, ``phrase_hash``, ``features``.
        predictor: of the model version.
        version_id: the number of that version.
        call: returns a context in which the model is called.
        progress: called with the fraction done and a short note.
    """
    for start in range(0, users.height, _BATCH):
        batch = users.slice(start, _BATCH)

        def batch_progress(fraction: float, _note: str = "", done: int = start, size: int = batch.height) -> None:
            progress((done + fraction * size) / users.height, f"{done} of {users.height} users scored")

        with call():
            segments = predictor.segment(batch, batch_progress)
        keys = batch.select(
            "bucket",
            "user_key",
            "phrase_hash",
            pl.lit(version_id, pl.Int64).alias("model_version_id"),
            pl.col("as_of").alias("scored_as_of"),
        )
        yield keys.hstack(segments).select(pl.col(name).cast(kind) for name, kind in SCORES.items())
    progress(1.0, f"{users.height} users scored")


def carried_forward(before: pl.LazyFrame, users: pl.DataFrame, version_id: int) -> pl.DataFrame:
    """Return the rows of an earlier snapshot, ``before``, of users whose text and model version did not change."""
    return (
        before.filter(pl.col("model_version_id") == version_id)
        .join(users.lazy().select("user_key", "phrase_hash"), on=["user_key", "phrase_hash"], how="semi")
        .select(list(SCORES))
        .collect()
    )
