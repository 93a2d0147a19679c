"""The tables of the store, as commands and the HTTP API list them."""

from __future__ import annotations

import polars as pl

from segadmin.counts import counted
from segadmin.events.vectors import vector_counts
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin_api.schemas.data import Table


def store_tables(settings: Settings) -> list[Table]:
    """Return the tables of the store with their numbers of rows, and the days of the events."""
    lake = Lake.of(settings)
    names = ("events", "items", "users", "labels", "quarantine")
    tables = {name: Table(table=name, rows=lake.scan(name).select(pl.len()).collect().item()) for name in names}
    if counts := vector_counts(lake):
        vectors = ", ".join(f"{name} of {counted(count, 'item')}" for name, count in counts.items())
        tables["items"].what = f"vectors: {vectors}"
    first, last = lake.scan("events").select(first=pl.col("at").min(), last=pl.col("at").max()).collect().row(0)
    if first is not None:
        tables["events"].what = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return list(tables.values())
