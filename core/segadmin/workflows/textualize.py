"""The ``textualize`` stage: users of a range of buckets become texts and features."""

from __future__ import annotations

from collections import Counter

import polars as pl

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.textualizer import Textualizer
from segadmin.jobs.attempt import Attempt, Outcome
from segadmin.jobs.plugin_guard import calling
from segadmin.storage.lake import Lake
from segadmin.storage.store import open_store
from segadmin.text.reader import read_users
from segadmin.text.recipe import Window
from segadmin.text.variant import CANONICAL, Variant
from segadmin.training.dataset import read_split, rows_to_read
from segadmin.workflows.prepared import Prepared


def textualize(attempt: Attempt) -> Outcome:
    """Read the users that prepare named at every training window, and all at the scoring window, bucket by bucket."""
    prepared = Prepared.model_validate(attempt.input("prepare"))
    recipe = prepared.recipe
    plugins = load_plugins(attempt.settings)
    plugin = plugins.find("textualizer", recipe.textualizer)
    textualizer: Textualizer = plugins.make("textualizer", recipe.textualizer, recipe.textualizer_options)
    lake = Lake.of(attempt.settings, prepared.lake)
    current = prepared.scoring
    report: Counter[str] = Counter()
    training: list[pl.DataFrame] = []
    augmented: list[pl.DataFrame] = []
    scoring: list[pl.DataFrame] = []
    variants = [Variant(number, prepared.drop_events) for number in range(1, prepared.augment + 1)]
    learnt = read_split(attempt, prepared).filter(pl.col("part") == "train") if variants else None

    def read(bucket: int, window: Window, users: pl.DataFrame, variant: Variant = CANONICAL) -> pl.DataFrame:
        call = calling(attempt, plugin, "phrases")
        found = read_users(
            lake, bucket, window, recipe, textualizer=textualizer, users=users, variant=variant, call=call
        )
        report.update(found.report if variant is CANONICAL else {"augmented": found.users.height})
        return found.users

    wanted = rows_to_read(attempt, prepared)
    wanted = wanted.with_columns(bucket=pl.col("user_key") & (open_store(attempt.settings).buckets - 1))
    for done, bucket in enumerate(attempt.buckets):
        attempt.progress(done / len(attempt.buckets), f"bucket {bucket}")
        here = wanted.filter(pl.col("bucket") == bucket)
        everybody = lake.scan("users", buckets=[bucket]).select("user_key").sort("user_key").collect()
        for window in prepared.training:
            times = pl.col("as_of") == window.as_of, pl.col("observed_from") == window.observed_from
            users = here.filter(*times).select("user_key").sort("user_key")
            training.append(read(bucket, window, users))
            if learnt is not None:
                mine = users.join(learnt.filter(pl.col("as_of") == window.as_of), on="user_key", how="semi")
                augmented += [read(bucket, window, mine, variant) for variant in variants]
        if current is not None:
            scoring.append(read(bucket, current, everybody))
    written = {
        name: attempt.write(pl.concat(frames), name) if frames else None
        for name, frames in (("training", training), ("augmented", augmented), ("scoring", scoring))
    }
    distinct = pl.concat(training + scoring)["phrases"].explode(empty_as_null=False, keep_nulls=False).n_unique()
    report["distinct_phrases"] = distinct
    return Outcome({"buckets": [attempt.buckets.start, attempt.buckets.stop - 1], **written, "report": dict(report)})
