"""Events written by hand, as a textualizer gets them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import polars as pl

from segadmin.contracts.textualizer import TextContext, Textualizer
from segadmin.settings import Language
from segadmin.storage.schema import TIME

AS_OF = datetime(2022, 1, 29, tzinfo=UTC)
SCHEMA = {
    "user_key": pl.Int64,
    "event_id": pl.Int64,
    "kind": pl.String,
    "item": pl.String,
    "at": TIME,
    **dict.fromkeys(("quantity", "price", "duration", "rating"), pl.Float64),
    **dict.fromkeys(("text", "extras", "title", "category", "brand", "user"), pl.String),
}


def at(text: str) -> datetime:
    """Return a moment, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def events(*rows: dict[str, Any]) -> pl.DataFrame:
    """Return events: each row gives what differs from user 1 viewing item 456 at the start of 2022."""
    usual = {"user_key": 1, "kind": "view", "item": "456", "at": at("2022-01-01 00:00")}
    ids = [crc32(repr(sorted(row.items())).encode()) for row in rows]
    return pl.DataFrame(
        [usual | {"event_id": event_id} | row for event_id, row in zip(ids, rows, strict=True)], schema=SCHEMA
    )


def phrases_of(
    textualizer: Textualizer, frame: pl.DataFrame, language: Language = "en", *, user: int = 1, days: float = 28
) -> list[str]:
    """Return what a user reads as, in order."""
    context = TextContext(AS_OF - timedelta(days=days), AS_OF, language)
    phrases = textualizer.phrases(frame.lazy(), context).filter(pl.col("user_key") == user)
    return phrases.sort("position").collect()["phrase"].to_list()
