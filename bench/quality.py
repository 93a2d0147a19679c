"""How good the segments are on Complete Journey, over several tasks and seeds: ``stacked`` beside its baselines.

Needs a home with the data and the labels, and its workers up: see ``docs/reference/quality.md``. Every seed draws other
held-out households, other initial weights and another order of the rows; the test rows are the same. Choices are made
on validation households; the test cut-offs are only reported. Intervals are 95 % over households, of the mean over
seeds. Results that exist already (``--kept FILE``) are not computed again. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.quality [--tasks spend3,growth3] [--seeds 17,18,19] [--kept FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

TASKS = "spend3,growth3,lapse4,redeem,affin10,pl3"
BASELINES = ("tabular", "linear", "tfidf")
#: What the champion is called, its parts, and the pool of all parts but the text.
ALL, TEXT, WITHOUT = "stacked", "text", "stacked without text"


def train(task: str, seed: int, options: list[str], more: list[str]) -> int:
    """Train on ``task`` with ``seed`` and return the job's number."""
    words = ["enqueue", "retrain", "--labels", task, "-b", "stacked", "--seed", str(seed), "--margin", "-1"]
    words += [word for option in options for word in ("--backbone-option", option)]
    words += [word for baseline in BASELINES for word in ("--baseline", baseline)]
    command = [sys.executable, "-m", "segadmin_api.cli", *words, *more, "--json", "--wait"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(json.loads(done.stdout)["job"])


def predictions_of_models(job: int) -> tuple[Any, dict[str, Any], dict[str, float]]:
    """Return the test rows, what every model said of them, and the weights of the parts."""
    import numpy as np
    import polars as pl

    from bench.rows import dataset, steps_of
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.comparison import probabilities_of
    from segadmin.inference.clipping import Limits
    from segadmin.inference.predictor import load_predictor
    from segadmin.models.artifact import Saved
    from segadmin.settings import get_settings
    from segadmin.storage.database import transaction
    from segadmin.storage.predictions import predictions_of
    from segadmin.storage.records import ModelVersion
    from segadmin_plugins.backbones.pooled import pool, weigh

    settings = get_settings()
    steps = {step.stage: step.result for step in steps_of(job)}
    tuned = steps["finetune"]
    model = load_predictor(settings, load_plugins(settings), Saved(tuned["folder"], tuned["sha256"]))
    rows = dataset(job).within(Limits.from_json(model.manifest.feature_limits))
    probabilities: dict[str, Any] = {}
    with transaction(settings) as session:
        version = session.get_one(ModelVersion, steps["evaluate"]["model_version_id"])
    predictions = {ALL: predictions_of(settings, version).rows}
    for name, written in steps["baselines"]["predictions"].items():
        predictions[name] = pl.read_parquet(settings.store_path / written["path"])
    key = ["user_key", "as_of"]
    for name, kept in predictions.items():
        probabilities[name] = probabilities_of(rows.test.frame.select(key).join(kept, on=key)["probabilities"])
    parts = model.classifier._fitted
    probabilities[TEXT] = parts[TEXT].predict(rows.test)
    on_validation = {name: part.predict(rows.validation) for name, part in parts.items() if name != TEXT}
    probabilities[WITHOUT] = pool(
        {name: parts[name].predict(rows.test) for name in on_validation}, weigh(on_validation, rows.validation)
    )
    assert all(np.isfinite(values).all() for values in probabilities.values())
    return rows.test.frame.select("user_key", "target", "unseen"), probabilities, model.classifier._weights


def figures(jobs: list[int]) -> dict[str, Any]:
    """Return the figures of one task: mean and spread over the seeds, and leads with intervals."""
    import numpy as np

    from segadmin.evaluation.bootstrap import Interval, auroc_draws
    from segadmin.evaluation.metrics import measure
    from segadmin_plugins.backbones.numbers import auroc

    draws: dict[str, list[Any]] = defaultdict(list)
    each: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    weights = []
    for job in jobs:
        rows, probabilities_by_name, weighed = predictions_of_models(job)
        targets, users, unseen = (rows[name].to_numpy() for name in ("target", "user_key", "unseen"))
        weights.append({name: round(weight, 3) for name, weight in weighed.items()})
        for name, probabilities in probabilities_by_name.items():
            draws[name].append(auroc_draws(probabilities, targets, users))
            facts = measure(probabilities.astype(float), targets, tuple(map(str, range(probabilities.shape[1]))))
            for metric in ("auroc", "macro_f1", "log_loss", "ece"):
                each[name][metric].append(facts[metric])
            each[name]["unseen"].append(auroc(probabilities[unseen], targets[unseen]))
    mean = {name: np.mean(values, axis=0) for name, values in draws.items()}

    def lead(first: str, other: str) -> str:
        apart = mean[first] - mean[other]
        return str(Interval.of(float(apart[0]), apart[1:]))

    best = max((name for name in mean if name in {"tabular", "linear"}), key=lambda name: mean[name][0])
    return {
        "jobs": jobs,
        "rows": len(targets),
        "weights": weights,
        "models": {
            name: {metric: spread(values) for metric, values in by_metric.items()} for name, by_metric in each.items()
        },
        "best_tabular": best,
        "lead_over_best_tabular": lead(ALL, best),
        "lead_over_tfidf": lead(ALL, "tfidf"),
        "lead_by_text": lead(ALL, WITHOUT),
    }


def spread(values: list[float]) -> list[float]:
    """Return mean and standard deviation."""
    return [round(statistics.mean(values), 4), round(statistics.stdev(values) if len(values) > 1 else 0.0, 4)]


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", default="17,18,19")
    parser.add_argument("--option", action="append", default=[], help="of the backbone stacked, KEY=VALUE")
    parser.add_argument("--kept", type=Path, help="JSON file of the jobs that were run")
    parser.add_argument("more", nargs="*", help="more words for `enqueue retrain`, after --")
    wanted = parser.parse_args()
    kept = json.loads(wanted.kept.read_text()) if wanted.kept and wanted.kept.exists() else {}
    for seed in map(int, wanted.seeds.split(",")):
        for task in wanted.tasks.split(","):
            if f"{task}/{seed}" not in kept:
                kept[f"{task}/{seed}"] = train(task, seed, wanted.option, wanted.more)
                if wanted.kept:
                    wanted.kept.write_text(json.dumps(kept))
    tasks = {}
    for task in wanted.tasks.split(","):
        tasks[task] = figures([kept[f"{task}/{seed}"] for seed in map(int, wanted.seeds.split(","))])
        print(f"\n{task}: {tasks[task]['rows']} test rows; mean ± deviation over the seeds")
        for name, metrics in tasks[task]["models"].items():
            print(f"  {name:<22}", *(f"{metric} {mean:.4f} ± {off:.4f}" for metric, (mean, off) in metrics.items()))
        for name in ("best_tabular", "lead_over_best_tabular", "lead_over_tfidf", "lead_by_text", "weights"):
            print(f"  {name}: {tasks[task][name]}")
    print(json.dumps({"bench": "quality", "tasks": tasks}))


if __name__ == "__main__":
    main()
