"""A large log for the benches: the real grocery year, again and again with new users."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from segadmin.events.mapping import Mapping
from segadmin_plugins.sources import completejourney

#: What reads the file that :func:`write` writes.
MAPPING = Mapping(constants={"kind": "purchase"})


def write(path: Path, times: int) -> int:
    """Write ``times`` × 1.47 million events to a Parquet, CSV or JSON lines file, and return how many."""
    year = pl.scan_parquet(completejourney.folder() / "transactions.parquet").select(
        user=pl.col("household_id").cast(pl.Int64),
        item="product_id",
        at="transaction_timestamp",
        quantity="quantity",
        price="sales_value",
    )
    years = pl.concat([year.with_columns(pl.col("user") + 10_000 * n) for n in range(times)])
    {".parquet": years.sink_parquet, ".csv": years.sink_csv, ".jsonl": years.sink_ndjson}[path.suffix](path)
    return int(years.select(pl.len()).collect().item())
