"""What ``refresh --hysteresis`` saves and costs: a refresh a week for nine weeks of the grocery year.

A model is trained on the labels of the first 32 weeks. Then events are imported week by week, and a refresh with
hysteresis follows each. Printed for each task: the margins, the users who moved per week with and without (the snapshot
counts both), and macro-F1 and accuracy of the segments of weeks 3, 6 and 9 against what users then did in eight weeks,
with hysteresis and by the model alone; intervals are 95 % over users. The last line is JSON.

    python -m bench.hysteresis [--tasks spend3,growth3,affin10] [--weeks 9] [--backbone tabular] [--seeds 17,18,19]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import f1_score

from bench import homes
from bench.refresh_policies import FIRST_WEEK
from bench.scale import run_job
from segadmin.contracts.labeler import Labeler
from segadmin.labels.labeling import label, labeler_of, labelling_events
from segadmin.models.manifest import manifest_of
from segadmin.settings import Settings, get_settings
from segadmin.snapshots.overrides import without_hysteresis
from segadmin.snapshots.read import assignments, find_snapshot
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet, ModelVersion, SegmentSnapshot
from segadmin_plugins.sources import completejourney

_RESAMPLES = 500


def current(settings: Settings, name: str) -> SegmentSnapshot:
    """Return the current snapshot of a label set."""
    with reading(settings) as session:
        return find_snapshot(session, "current", name)


def rolled_forward(settings: Settings, name: str, weeks: int, events: pl.DataFrame) -> dict[str, Any]:
    """Let events come week by week, and refresh; return churn and quality."""
    lake = Lake.of(settings)
    begin = datetime.fromisoformat(completejourney.WEEK_ONE).replace(tzinfo=UTC) + timedelta(weeks=FIRST_WEEK)
    with reading(settings) as session:
        label_set = session.get_one(LabelSet, name)
    labeler = labeler_of(settings, label_set)
    assert labeler is not None
    lake.overwrite("events", events.filter(pl.col("at") < begin))
    run_job(settings, "score", {"model": "champion", "labels": name})
    moved, quality = [], []
    for week in range(1, weeks + 1):
        until = begin + timedelta(weeks=week)
        lake.append("events", events.filter(pl.col("at").is_between(until - timedelta(weeks=1), until, closed="left")))
        run_job(settings, "refresh", {"model": "champion", "labels": name, "hysteresis": True})
        snapshot = current(settings, name)
        moved.append((snapshot.moved / snapshot.users, (snapshot.moved_without_hysteresis or 0) / snapshot.users))
        if week % 3 == 0:
            quality.append(measured(settings, labeler, label_set, snapshot, events))
    with reading(settings) as session:
        hysteresis = manifest_of(session.get_one(ModelVersion, snapshot.model_version_id)).hysteresis
    assert hysteresis is not None
    with_it, without = np.mean(moved, axis=0)
    return {
        "margins": hysteresis.margins,
        "moved_per_week": round(float(with_it), 4),
        "without": round(float(without), 4),
        "quality": quality,
    }


def measured(
    settings: Settings, labeler: Labeler, label_set: LabelSet, snapshot: SegmentSnapshot, events: pl.DataFrame
) -> dict[str, Any]:
    """Return the quality of the segments of a snapshot, and by how much it differs from that by the model alone."""
    lake = Lake.of(settings)
    known = lake.scan("events").collect()
    lake.overwrite("events", events)
    try:
        truth = labeler.outcomes(labelling_events(lake), label_set.definition, snapshot.as_of)
    finally:
        lake.overwrite("events", known)
    assert truth is not None
    rows = assignments(settings, snapshot.id or 0).select("user_key", "segment", own=without_hysteresis()).collect()
    joined = rows.join(truth.select("user_key", true="segment"), on="user_key")
    order = pl.Enum(label_set.segments)
    frames = [joined[column].cast(order).to_physical().to_numpy() for column in ("true", "segment", "own")]
    random = np.random.default_rng(0)
    draws = [random.integers(0, joined.height, joined.height) for _ in range(_RESAMPLES)]
    gains = [_lead(*(column[draw] for column in frames)) for draw in draws]
    true, held, own = frames
    return {
        "as_of": f"{snapshot.as_of:%Y-%m-%d}",
        "macro_f1": round(float(f1_score(true, held, average="macro")), 4),
        "without": round(float(f1_score(true, own, average="macro")), 4),
        "difference": [round(float(value), 4) for value in (_lead(*frames), *np.quantile(gains, [0.025, 0.975]))],
        "accuracy": [round(float((true == each).mean()), 4) for each in (held, own)],
    }


def _lead(true: Any, held: Any, own: Any) -> float:
    return float(f1_score(true, held, average="macro") - f1_score(true, own, average="macro"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="spend3,growth3,affin10")
    parser.add_argument("--weeks", type=int, default=9)
    parser.add_argument("--backbone", default="tabular")
    parser.add_argument("--seeds", default="17,18,19")
    wanted = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SEGADMIN_HOME": f"{folder}/home", "SEGADMIN_BUCKETS": "8"}
        get_settings.cache_clear()
        settings = get_settings()
        homes.import_year()
        events = Lake.of(settings).scan("events").collect()
        for name in wanted.tasks.split(","):
            labeler, options = homes.TASKS[name]
            Lake.of(settings).overwrite("events", events)
            label(settings, name, labeler, {"first_week": completejourney.WEEK_ONE, **options})
            for seed in map(int, wanted.seeds.split(",")):
                Lake.of(settings).overwrite("events", events)
                request = {"backbone": wanted.backbone, "labels": name, "margin": -1, "baselines": [], "trackers": []}
                run_job(settings, "retrain", {**request, "seed": seed, "force": True})
                results.setdefault(name, []).append(rolled_forward(settings, name, wanted.weeks, events))
                print(name, seed, json.dumps(results[name][-1]), flush=True)
    print(json.dumps({"bench": "hysteresis", "weeks": wanted.weeks, "results": results}))


if __name__ == "__main__":
    main()
