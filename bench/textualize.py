"""How fast events become text: ``timeline``, the 100 newest of each user, beside others that say the same.

Peers, in the same process and on the same bucket, one core: a Python function for each row; a global sort in Polars;
and a Polars query written by hand for this one sentence (``group_by → sort_by.head → explode``). Runs are interleaved;
the figures are the medians of the ratios. ``whole stage`` is what a worker does for a bucket: reading the lake, joining
the items, phrases, features and writing. The last line is JSON.

    python -m bench.textualize [--times 10] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl

from bench import replicated
from segadmin.contracts.textualizer import TextContext
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.text.reader import read_users
from segadmin.text.recipe import Recipe, Window
from segadmin_plugins.textualizers.timeline import Timeline

BUCKETS = 64
NEWEST = 100
WINDOW = Window(observed_from=datetime(2016, 12, 1, tzinfo=UTC), as_of=datetime(2018, 2, 1, tzinfo=UTC))
_CONTEXT = TextContext(WINDOW.observed_from, WINDOW.as_of, "en")


def ours(events: pl.DataFrame) -> int:
    """Return how many phrases the built-in textualizer makes."""
    return Timeline(limit=NEWEST).phrases(events.lazy(), _CONTEXT).collect().height


def per_row(events: pl.DataFrame) -> int:
    """The same sentences by a Python function for each row."""
    users: dict[int, list[tuple[object, ...]]] = {}
    for row in events.select("user_key", "at", "item", "quantity", "price").iter_rows():
        users.setdefault(row[0], []).append(row)
    phrases = 0
    for rows in users.values():
        rows.sort(key=lambda row: (-row[1].timestamp(), row[2]))  # type: ignore[attr-defined]
        for user, at, item, quantity, price in rows[:NEWEST]:
            who = f"{user & 0xFFFF_FFFF_FFFF_FFFF:016x}"  # type: ignore[operator]
            when = f"{at:%Y-%m-%d %H:%M}"
            sentence = f"purchase record: user {who} bought item {item} at {when}, quantity {quantity}, amount {price}"
            phrases += bool(sentence)
    return phrases


def _sentence() -> pl.Expr:
    return pl.format(
        "purchase record: user {} bought item {} at {}, quantity {}, amount {}",
        pl.col("user_key").cast(pl.String),
        "item",
        pl.col("at").dt.strftime("%Y-%m-%d %H:%M"),
        pl.col("quantity").cast(pl.String),
        pl.col("price").cast(pl.String),
    )


def by_hand(events: pl.DataFrame) -> int:
    """The query that one would write for this sentence alone."""
    columns = ("at", "item", "quantity", "price")
    newest = (pl.col(name).sort_by("at", descending=True).head(NEWEST) for name in columns)
    some = events.lazy().group_by("user_key").agg(*newest).explode(columns)
    return some.select("user_key", phrase=_sentence()).collect().height


def global_sort(events: pl.DataFrame) -> int:
    """The same with everything sorted by user first."""
    ordered = events.lazy().sort("user_key", "at", descending=[False, True]).group_by("user_key").head(NEWEST)
    return ordered.select("user_key", phrase=_sentence()).collect().height


PEERS: dict[str, Callable[[pl.DataFrame], int]] = {
    "ours": ours,
    "per_row": per_row,
    "by_hand": by_hand,
    "global_sort": global_sort,
}


def seconds(call: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    before = time.process_time()
    call()
    return time.process_time() - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=10, help="how many times 1.47 million events")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", buckets=BUCKETS)
        path = Path(folder) / "events.parquet"
        replicated.write(path, options.times)
        import_file(settings, ImportRequest("events", str(path), replicated.MAPPING))
        import_file(settings, ImportRequest("items", *items()))
        lake = Lake.of(settings)
        took: dict[str, list[float]] = {name: [] for name in (*PEERS, "whole stage")}
        events_read = 0
        for run in range(options.runs):
            events = lake.scan("events", buckets=[run]).collect()
            events_read += events.height
            for name, peer in PEERS.items():
                took[name].append(seconds(lambda peer=peer, events=events: peer(events)) / events.height)  # type: ignore[misc]
            took["whole stage"].append(seconds(lambda run=run: stage(lake, run, settings)) / events.height)  # type: ignore[misc]
    rate = {name: round(1e-6 / statistics.median(some), 2) for name, some in took.items()}
    ratio = {
        name: round(statistics.median(peer / mine for peer, mine in zip(took[name], took["ours"], strict=True)), 2)
        for name in PEERS
        if name != "ours"
    }
    for name, figure in rate.items():
        print(f"{name:>12}: {figure:6.2f} million events a second and core")
    print(
        json.dumps(
            {"bench": "textualize", "events": events_read, "millions_per_second": rate, "speed_ratio_of_ours_to": ratio}
        )
    )


def items() -> tuple[str, Mapping]:
    """Return the file of the items and how to read it."""
    from segadmin_plugins.sources import completejourney

    return str(completejourney.folder() / "products.parquet"), completejourney.ITEMS


def stage(lake: Lake, bucket: int, settings: Settings) -> None:
    """Do what a worker does for one bucket."""
    users = lake.scan("users", buckets=[bucket]).select("user_key").collect()
    recipe = Recipe(textualizer="timeline", textualizer_version="1", max_phrases=NEWEST)
    read = read_users(lake, bucket, WINDOW, recipe, textualizer=Timeline(limit=NEWEST), users=users)
    read.users.write_parquet(settings.root / f"text-{bucket}.parquet")


if __name__ == "__main__":
    main()
