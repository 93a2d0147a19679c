"""The order of the probabilities: each row has that of the segments of the model version that scored it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from sqlmodel import Session

from segadmin.storage.records import Canary, ModelVersion, SegmentSnapshot


def orders_of(session: Session, snapshot: SegmentSnapshot) -> dict[int, list[str]]:
    """Return the segments of each model version that scored users of a snapshot, that of the snapshot first."""
    versions = [snapshot.model_version_id]
    if snapshot.canary_id is not None:
        versions.append(session.get_one(Canary, snapshot.canary_id).challenger_id)
    return {version: session.get_one(ModelVersion, version).segments for version in versions}


def in_order(orders: Mapping[int, Sequence[str]], segments: Sequence[str]) -> pl.Expr:
    """Return the column ``probabilities`` in the order of ``segments``, whichever version scored the row.

    Args:
        orders: :func:`orders_of` the snapshot.
        segments: all segments of each version, in the order that is wanted.
    """
    column = pl.col("probabilities")
    for version, order in orders.items():
        if list(order) != list(segments):
            places = pl.concat_list([pl.col("probabilities").list.get(order.index(name)) for name in segments])
            column = pl.when(pl.col("model_version_id") == version).then(places).otherwise(column)
    return column.alias("probabilities")
