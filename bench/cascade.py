"""How many calls of the language model ``cascade`` saves on real tasks, and how well it agrees with the model.

Needs a home that ``bench.homes future`` made: the grocery year, and what households will do. For each task the
backbone ``cascade`` is fitted on the cut-offs of the training weeks, its threshold is chosen on other households, and
it is compared with its own language model alone on the test rows, which are of later weeks. ``saving`` is the number
of users for each one that the language model reads. The last line is JSON.

    SEGADMIN_HOME=HOME python -m bench.cascade [--tasks spend3,lapse4,pl3] [--households 2469] [--option KEY=VALUE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.labels import Rows
from bench.rows import dataset
from bench.scale import run_job

TASKS = "spend3,lapse4,pl3"
#: The job whose texts all tasks share; its model is of no interest.
TEXTS = {"backbone": "tabular", "backbone_options": {"rounds": "10"}, "baselines": [], "labels": "spend3", "margin": -1}


def rows_of_all() -> Rows:
    """Textualize the training and test rows, and return them."""
    from segadmin.settings import get_settings

    return Rows(dataset(run_job(get_settings(), "retrain", TEXTS | {"trackers": [], "language": "en"})))


def parts_of(rows: Rows, task: str, households: int) -> dict[str, Any]:
    """Return the rows of ``task`` of some households: ``train``, ``validation`` and ``test``."""
    import polars as pl

    parts = rows.of(task)
    users = pl.concat([part.frame["user_key"] for part in parts.values()]).unique().sort().head(households)
    chosen = pl.col("user_key").is_in(users.implode())
    return {name: replace(part, frame=part.frame.filter(chosen)) for name, part in parts.items()}


def compared(parts: dict[str, Any], options: dict[str, str]) -> dict[str, Any]:
    """Fit a cascade and compare it with its language model on the test rows."""
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.metrics import measure
    from segadmin.settings import get_settings

    settings, test = get_settings(), parts["test"]
    backbone = load_plugins(settings).make("backbone", "cascade", options)
    with tempfile.TemporaryDirectory() as folder:
        model = backbone.fit(parts["train"], parts["validation"], FitContext(settings, Path(folder)))
        began = time.perf_counter()
        alone = model._text.predict(test)
        seconds_alone = time.perf_counter() - began
        began = time.perf_counter()
        together = model.predict(test)
        seconds = time.perf_counter() - began
    fraction = model.inference["language_model_fraction"]
    quality = {
        name: measure(probabilities.astype(float), test.targets, test.segments)
        for name, probabilities in (("language_model", alone), ("cascade", together))
    }
    return {
        "rows": {name: len(part) for name, part in parts.items()},
        "fraction": fraction,
        "saving": round(1 / fraction, 2) if fraction else None,
        "agreement": round(float((alone.argmax(axis=1) == together.argmax(axis=1)).mean()), 4),
        "times_faster": round(seconds_alone / seconds, 2),
        "weights": model.report["student"]["weights"],
        "temperature": model.report["temperature"],
        "quality": {
            name: {metric: round(figures[metric], 4) for metric in ("accuracy", "log_loss", "auroc")}
            for name, figures in quality.items()
        },
    }


def main() -> None:
    """Measure every task and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--households", type=int, default=2469)
    parser.add_argument("--option", action="append", default=["text_options=epochs=1"], metavar="KEY=VALUE")
    wanted = parser.parse_args()
    options = dict(option.split("=", 1) for option in wanted.option)
    rows, tasks = rows_of_all(), {}
    for task in wanted.tasks.split(","):
        tasks[task] = compared(parts_of(rows, task, wanted.households), options)
        for name, value in tasks[task].items():
            print(f"{task:<8} {name:<14} {value}", flush=True)
    least = {name: min(figures[name] for figures in tasks.values()) for name in ("saving", "agreement")}
    print(json.dumps({"bench": "cascade", "options": options, "least": least, "tasks": tasks}))


if __name__ == "__main__":
    main()
