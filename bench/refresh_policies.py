"""What ``--time`` costs and saves: a refresh a day for 60 days of the grocery year, with each policy.

A model is trained on the labels of the first 32 weeks. Then events are imported day by day, and a refresh follows
each day. Printed for each policy: the share of users who were scored again per day, by cause, the seconds of all
refreshes, and AUROC and macro-F1 of the snapshots of days 20, 40 and 60 against what their users then did in eight
weeks. The last line is JSON.

    python -m bench.refresh_policies [--labels spend3] [--days 60] [--backbone tabular]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from sqlmodel import col, select

from bench import homes
from bench.refresh import seconds
from bench.scale import run_job
from segadmin.contracts.labeler import Labeler
from segadmin.labels.labeling import label, labeler_of
from segadmin.settings import Settings, get_settings
from segadmin.snapshots.outcomes import measure_outcomes
from segadmin.snapshots.policy import TimePolicy
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet, SegmentSnapshot
from segadmin_plugins.sources import completejourney

#: The week after which events come day by day.
FIRST_WEEK = 35


def prepare(settings: Settings, name: str, backbone: str) -> None:
    """Import the year, and train a model."""
    homes.import_year()
    labeler, options = homes.TASKS[name]
    label(settings, name, labeler, {"first_week": completejourney.WEEK_ONE, **options})
    request = {"backbone": backbone, "labels": name, "margin": -1, "baselines": [], "trackers": []}
    run_job(settings, "retrain", request)


def rolled_forward(settings: Settings, name: str, policy: TimePolicy, days: int) -> dict[str, Any]:
    """Take away what came after the first weeks, and let it come day by day; return shares, seconds and quality."""
    lake = Lake.of(settings)
    events = lake.scan("events").collect()
    begin = datetime.fromisoformat(completejourney.WEEK_ONE).replace(tzinfo=UTC) + timedelta(weeks=FIRST_WEEK)
    with reading(settings) as session:
        label_set = session.get_one(LabelSet, name)
    labeler = labeler_of(settings, label_set)
    assert labeler is not None
    lake.overwrite("events", events.filter(pl.col("at") < begin))
    run_job(settings, "score", {"model": "champion", "labels": name})
    causes: Counter[str] = Counter()
    taken, quality = 0.0, []
    for day in range(1, days + 1):
        until = begin + timedelta(days=day)
        lake.append("events", events.filter(pl.col("at").is_between(until - timedelta(days=1), until, closed="left")))
        options = {"model": "champion", "labels": name, "time": policy.value}
        taken += seconds(lambda options=options: run_job(settings, "refresh", options))
        snapshot = _newest(settings)
        causes.update(snapshot.rescored_by)
        if day % (days // 3) == 0:
            quality.append(_measured(settings, labeler, label_set, snapshot, events))
    return {
        "policy": policy.value,
        "scored_per_day": {cause: round(users / days / snapshot.users, 4) for cause, users in causes.most_common()},
        "seconds": round(taken, 1),
        "auroc": [round(row["auroc"], 4) for row in quality],
        "macro_f1": [round(row["macro_f1"], 4) for row in quality],
    }


def _newest(settings: Settings) -> SegmentSnapshot:
    with reading(settings) as session:
        snapshot = session.exec(select(SegmentSnapshot).order_by(col(SegmentSnapshot.id).desc())).first()
    assert snapshot is not None
    return snapshot


def _measured(
    settings: Settings, labeler: Labeler, label_set: LabelSet, snapshot: SegmentSnapshot, events: pl.DataFrame
) -> dict[str, float]:
    """Return the metrics of a snapshot by what its users did later."""
    lake = Lake.of(settings)
    known = lake.scan("events").collect()
    lake.overwrite("events", events)
    try:
        row = measure_outcomes(settings, labeler, label_set, snapshot)
    finally:
        lake.overwrite("events", known)
    assert row is not None
    metrics: dict[str, float] = row["metrics"]
    return metrics


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", default="spend3", choices=sorted(homes.TASKS))
    parser.add_argument("--backbone", default="tabular")
    parser.add_argument("--days", type=int, default=60)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SEGADMIN_HOME": f"{folder}/home", "SEGADMIN_BUCKETS": "8"}
        get_settings.cache_clear()
        prepare(get_settings(), options.labels, options.backbone)
        for policy in TimePolicy:
            home = Path(folder) / policy.value
            shutil.copytree(f"{folder}/home", home)
            results.append(rolled_forward(Settings(home=home, buckets=8), options.labels, policy, options.days))
            print(results[-1], flush=True)
    print(json.dumps({"bench": "refresh_policies", "labels": options.labels, "days": options.days, "results": results}))


if __name__ == "__main__":
    main()
