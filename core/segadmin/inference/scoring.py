"""Putting users in segments, many at a time; those whose text did not change are carried forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import polars as pl

from segadmin.contracts.backbone import no_progress
from segadmin.inference.predictor import Predictor
from segadmin.storage.schema import ASSIGNMENTS

#: Users whose probabilities are found before they are put away: bounds memory, whatever the backbone holds.
_BATCH = 8192
#: As in the lake, less the snapshot's number, which publishing gives.
SCORES = {name: kind for name, kind in ASSIGNMENTS.items() if name != "snapshot_id"}


def scored_batches(
    users: pl.DataFrame,
    predictor: Predictor,
    version_id: int,
    *,
    call: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[float, str], None] = no_progress,
) -> Iterator[pl.DataFrame]:
    """Yield the segments of ``users``, a batch at a time, as rows of :data:`SCORES`.

    Args:
        users: ``bucket``, ``user_key``, ``as_of``, ``phrases``, ``phrase_hash``, ``features``.
        predictor: of the model version.
        version_id: the number of that version.
        call: what the model is called inside of.
        progress: called with the fraction done and a few words.
    """
    for start in range(0, users.height, _BATCH):
        batch = users.slice(start, _BATCH)

        def batch_progress(fraction: float, _note: str = "", done: int = start, size: int = batch.height) -> None:
            progress((done + fraction * size) / users.height, f"{done} of {users.height} users scored")

        with call():
            segments = predictor.segment(batch, batch_progress)
        facts = batch.select(
            "bucket",
            "user_key",
            "phrase_hash",
            pl.lit(version_id, pl.Int64).alias("model_version_id"),
            pl.col("as_of").alias("scored_as_of"),
        )
        yield facts.hstack(segments).select(pl.col(name).cast(kind) for name, kind in SCORES.items())
    progress(1.0, f"{users.height} users scored")


def carried_forward(before: pl.LazyFrame, users: pl.DataFrame, version_id: int) -> pl.DataFrame:
    """Return the rows of an earlier snapshot, ``before``, of users whose text is what this very version read then."""
    return (
        before.filter(pl.col("model_version_id") == version_id)
        .join(users.lazy().select("user_key", "phrase_hash"), on=["user_key", "phrase_hash"], how="semi")
        .select(list(SCORES))
        .collect()
    )
