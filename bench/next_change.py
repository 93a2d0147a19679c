"""How many silent users an exact refresh reads, by textualizer and by the time since the last one: the grocery year.

Every user is read as of week 35. For each textualizer and time since, printed are the fraction of users without new
events whose text may have changed (``due``: a refresh reads them), and the fraction whose text did (``changed``: the
model scores them). Before there was ``next_change``, all were read. It is checked that all who changed were due. The
last line is JSON.

    python -m bench.next_change
"""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from bench import homes
from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings, get_settings
from segadmin.storage.lake import Lake
from segadmin.storage.store import open_store
from segadmin.text.next_change import is_due
from segadmin.text.reader import read_users
from segadmin.text.recipe import Recipe
from segadmin_plugins.sources import completejourney

TEXTUALIZERS = ("mixed", "summary", "timeline", "sessions", "journey", "rfm")
HOURS = (1, 6, 24, 7 * 24)
AS_OF = datetime.fromisoformat(completejourney.WEEK_ONE).replace(tzinfo=UTC) + timedelta(weeks=35)


def texts(settings: Settings, textualizer: str, as_of: datetime) -> pl.DataFrame:
    """Return ``user_key``, ``phrase_hash`` and ``next_change`` of all users."""
    lake, made = Lake.of(settings), load_plugins(settings).make("textualizer", textualizer)
    recipe = Recipe(textualizer=textualizer, textualizer_version=made.version)
    read = []
    for bucket in range(open_store(settings).buckets):
        users = lake.scan("users", buckets=[bucket]).select("user_key").collect()
        window = recipe.window(as_of)
        read.append(read_users(lake, bucket, window, recipe, textualizer=made, users=users, timed=True).users)
    return pl.concat(read).select("user_key", "phrase_hash", "next_change")


def compared(settings: Settings, before: pl.DataFrame, textualizer: str, hours: int) -> dict[str, Any]:
    """Return the fractions of silent users who are due and whose text changed after some hours."""
    as_of = AS_OF + timedelta(hours=hours)
    recent = Lake.of(settings).scan("events").filter(pl.col("at").is_between(AS_OF, as_of, closed="left"))
    silent = before.join(recent.select("user_key").unique().collect(), on="user_key", how="anti")
    now = texts(settings, textualizer, as_of).select("user_key", now="phrase_hash")
    users = silent.join(now, on="user_key").select(due=is_due(as_of), changed=pl.col("phrase_hash") != pl.col("now"))
    assert users.filter(pl.col("changed") & ~pl.col("due")).is_empty(), "a text changed before its time"
    shares = {name: round(users[name].mean(), 4) for name in ("due", "changed")}  # type: ignore[arg-type]
    return {"textualizer": textualizer, "hours": hours, "silent": users.height, **shares}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SEGADMIN_HOME": f"{folder}/home", "SEGADMIN_BUCKETS": "8"}
        get_settings.cache_clear()
        homes.import_year()
        results = []
        for textualizer in TEXTUALIZERS:
            before = texts(get_settings(), textualizer, AS_OF)
            for hours in HOURS:
                results.append(compared(get_settings(), before, textualizer, hours))
                print(results[-1], flush=True)
    print(json.dumps({"bench": "next_change", "results": results}))


if __name__ == "__main__":
    main()
