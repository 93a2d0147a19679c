"""Known layouts of files, recognized by their columns, each with a shipped mapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from segadmin.events.shipped import Shipped

#: Kinds in Taobao's file, which has no header and is recognized by its values.
_TAOBAO = frozenset({"pv", "buy", "cart", "fav"})


@dataclass(frozen=True)
class Layout:
    """Criteria by which a file matches the layout of a shipped mapping."""

    name: str  #: name of the shipped mapping
    columns: frozenset[str]  #: required columns
    one_of: frozenset[str] = frozenset()  #: of which at least one is required
    words: frozenset[str] = frozenset()  #: of which the column :attr:`kind` contains at least one
    kind: str = ""
    items: tuple[tuple[str, str], ...] = ()  #: fields of items in the same file, and their columns

    @property
    def mapping(self) -> Shipped:
        """The shipped mapping."""
        return Shipped(self.name)

    def fits(self, sample: pl.DataFrame) -> bool:
        """Whether ``sample`` has this layout."""
        columns = frozenset(sample.columns)
        if not self.columns <= columns or (self.one_of and not self.one_of & columns):
            return False
        return not self.words or sample[self.kind].cast(pl.String).is_in(sorted(self.words)).any()


LAYOUTS = (
    Layout(
        "retailrocket",
        frozenset({"timestamp", "visitorid", "event", "itemid", "transactionid"}),
        words=frozenset({"view", "addtocart", "transaction"}),
        kind="event",
    ),
    Layout(
        "kaggle-ecommerce",
        frozenset({"event_time", "event_type", "product_id", "price", "user_id", "user_session"}),
        one_of=frozenset({"category_code", "category_id", "brand"}),
        words=frozenset({"view", "cart", "purchase"}),
        kind="event_type",
        items=(("item", "product_id"), ("category", "category_code"), ("brand", "brand"), ("price", "price")),
    ),
    Layout(
        "online-retail-ii",
        frozenset({"Invoice", "StockCode", "Quantity", "InvoiceDate", "Price", "Customer ID"}),
        items=(("item", "StockCode"), ("title", "Description"), ("price", "Price")),
    ),
    Layout(
        "online-retail",
        frozenset({"InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID"}),
        items=(("item", "StockCode"), ("title", "Description"), ("price", "UnitPrice")),
    ),
    Layout(
        "shopify-orders",
        frozenset({"Name", "Financial Status", "Created at", "Lineitem quantity", "Lineitem name", "Lineitem price"}),
        one_of=frozenset({"Email", "Phone"}),
    ),
    Layout(
        "segment-track",
        frozenset({"event", "properties"}),
        one_of=frozenset({"userId", "anonymousId"}),
    ),
    Layout(
        "ga4-bigquery",
        frozenset({"event_name", "event_timestamp", "user_pseudo_id", "items"}),
    ),
)
TAOBAO = Layout(
    "taobao", frozenset({"user", "item", "category", "kind", "at"}), items=(("item", "item"), ("category", "category"))
)


def recognise(sample: pl.DataFrame, *, headerless: bool) -> Layout | None:
    """Return the layout of a file's first rows, or ``None``.

    Args:
        sample: the rows; for a file without a header, with generated column names.
        headerless: the file has no header.
    """
    if headerless:
        return TAOBAO if _is_taobao(sample) else None
    return next((layout for layout in LAYOUTS if layout.fits(sample)), None)


def _is_taobao(sample: pl.DataFrame) -> bool:
    if sample.width != len(TAOBAO.columns):
        return False
    kind, at = sample.to_series(3).cast(pl.String), sample.to_series(4).cast(pl.String)
    return bool(kind.is_in(sorted(_TAOBAO)).mean() > 0.9 and at.str.contains(r"^\d{9,10}$").mean() > 0.9)  # type: ignore[operator]


def shipped_layouts() -> Sequence[Layout]:
    """Return every layout that is recognised."""
    return (TAOBAO, *LAYOUTS)
