"""What an update of a model is worth beside a full retrain, as the grocery year goes on.

Needs a home that ``prepare`` made: the grocery year, and what households will do after six cut-offs; thresholds are
those of the first two. A model of each task is trained on weeks 16 and 24. Then the year goes on: in week 48 the
labels of week 32 may be trained on and those of week 40 are the test, in week 52 also those of week 36, and the test
is week 44. At both moments the same test rows are predicted by the first model (frozen), by its update (only the new
rows and some old ones, from the weights of the version before) and by a model that is trained on all rows from the
backbone's own weights (retrained). Of three tenths of the households nothing is trained on: half of them are the
validation users, and on the others the old cut-offs are looked at again, by segment. Seconds are those of the
processor in the fit. With ``--out`` the means are drawn, with a first point that all ways share: the first model in
week 32. The last line is JSON.

    SEGADMIN_HOME=HOME python -m bench.updates prepare
    SEGADMIN_HOME=HOME python -m bench.updates run [--job 1] [--tasks spend3,affin10,redeem] [--seeds 17,18,19]
        [--households 900] [--backbone tiny] [--option KEY=VALUE] [--replay 0.1] [--out updates.svg]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from bench import homes
from bench.labels import Rows
from bench.rows import dataset
from bench.scale import run_job
from segadmin.evaluation.calibration import predict, scaled
from segadmin.evaluation.metrics import measure
from segadmin.labels.labeling import label
from segadmin.labels.split import draw
from segadmin.settings import get_settings
from segadmin.training.context import RunContext
from segadmin.training.dataset import Dataset
from segadmin.training.finetune import Finetuned, finetune
from segadmin_api.dashboard.charts import Series, line_chart
from segadmin_plugins.sources import completejourney

TASKS = "spend3,affin10,redeem"
#: Width of a chart in the picture.
PANEL = 280
#: Weeks of the cut-offs; the first two are those that the first model is trained on.
WEEKS = (16, 24, 32, 36, 40, 44)
#: What may be trained on and what is predicted, as the year goes on.
STEPS = (((16, 24, 32), 40), ((16, 24, 32, 36), 44))
FIRST_TEST = 32
#: Households that are not trained on: the first for validation, the others to look at old cut-offs again.
VALIDATION, WATCHED = 0.15, 0.3
WAYS = ("frozen", "updated", "retrained")
METRICS = ("macro_f1", "auroc")


def prepare() -> None:
    """Import the year, label it, and make the texts of all cut-offs."""
    homes.import_year()
    first, later = (",".join(map(str, weeks)) for weeks in (WEEKS[:2], WEEKS[2:]))
    cutoffs = {"first_week": completejourney.WEEK_ONE, "train_cuts": first, "test_cuts": later}
    for name, (labeler, options) in homes.TASKS.items():
        label(get_settings(), name, labeler, {**options, **cutoffs})
    texts = {"backbone": "tabular", "backbone_options": {"rounds": "10"}, "labels": "spend3", "language": "en"}
    job = run_job(get_settings(), "retrain", {**texts, "baselines": [], "trackers": [], "margin": -1})
    print(json.dumps({"bench": "updates", "job": job}))


@dataclass(frozen=True)
class Shop:
    """The rows of one task, and which households they are of."""

    rows: Any  #: ``Examples`` of all cut-offs
    cutoffs: dict[int, datetime]  #: week → moment
    seed: int

    @classmethod
    def of(cls, rows: Rows, task: str, seed: int, households: int) -> Shop:
        """Return the rows of some households."""
        parts = rows.of(task)
        columns = [name for name in parts["train"].frame.columns if name != "unseen"]
        frame = pl.concat(part.frame.select(columns) for part in parts.values()).sort("as_of", "user_key")
        users = frame["user_key"].unique().sort().sample(fraction=1, shuffle=True, seed=1).head(households)
        frame = frame.filter(pl.col("user_key").is_in(users.implode()))
        cutoffs = dict(zip(WEEKS, frame["as_of"].unique().sort(), strict=True))
        return cls(replace(parts["train"], frame=frame), cutoffs, seed)

    def at(self, weeks: Sequence[int], low: float = 0.0, high: float = 1.0) -> Any:
        """Return the rows of some weeks, of the households whose draw is from ``low`` to ``high``."""
        draws = pl.Series(draw(self.rows.frame["user_key"].to_numpy(), self.seed))
        moments = [self.cutoffs[week] for week in weeks]
        return replace(
            self.rows, frame=self.rows.frame.filter(pl.col("as_of").is_in(moments), (draws >= low) & (draws < high))
        )

    def replayed(self, old: Sequence[int], new: Sequence[int], fraction: float) -> Any:
        """Return the training rows of an update."""
        rows, kept = self.at((*old, *new), WATCHED), [self.cutoffs[week] for week in new]
        again = pl.Series(draw(rows.frame["user_key"].to_numpy(), self.seed + 2) < fraction)
        return replace(rows, frame=rows.frame.filter(pl.col("as_of").is_in(kept) | again))


@dataclass(frozen=True)
class Model:
    """A fitted model, where it is saved, and how long its fit took."""

    fitted: Finetuned
    folder: Path
    seconds: float

    def measured(self, examples: Any) -> dict[str, Any]:
        """Return the metrics on some rows, of calibrated probabilities.

        The rule for users of short history is left out: it is found on the few validation users, and its changes would
        hide those of the weights.
        """
        raw = predict(self.fitted.fitted.classifier, self.fitted.limits.clip(examples))
        probabilities = scaled(raw, self.fitted.fitted.calibration.temperature)
        return measure(probabilities, examples.targets, examples.segments)


def fit(
    shop: Shop,
    train: Any,
    weeks: Sequence[int],
    folder: Path,
    how: tuple[str, dict[str, Any]],
    *,
    parent: Path | None = None,
) -> Model:
    """Fit a model on ``train``, from ``parent`` if given; it is selected on the validation users of ``weeks``."""
    folder.mkdir()
    held_out = shop.at(weeks, 0.0, VALIDATION)
    data = Dataset(train, held_out, replace(held_out, frame=held_out.frame.head(0)))
    began = time.process_time()
    context = RunContext(get_settings(), folder)
    update = {} if parent is None else {"parent": parent, "update": True}
    fitted = finetune(context, *how, data, seed=shop.seed, **update)
    seconds = time.process_time() - began
    fitted.fitted.classifier.save(folder / "saved")
    return Model(fitted, folder / "saved", seconds)


def rolled_forward(shop: Shop, how: tuple[str, dict[str, Any]], replay: float, folder: Path) -> dict[str, Any]:
    """Return what each way came to, at each moment."""
    known = STEPS[0][0][:2]
    frozen = fit(shop, shop.at(known, WATCHED), known, folder / "frozen", how)
    updated, steps, first = frozen, {}, _metrics(frozen.measured(shop.at((FIRST_TEST,))))
    for weeks, tested in STEPS:
        new = [week for week in weeks if week not in known]
        rows = shop.replayed(known, new, replay)
        updated = fit(shop, rows, weeks, folder / f"updated-{tested}", how, parent=updated.folder)
        retrained = fit(shop, shop.at(weeks, WATCHED), weeks, folder / f"retrained-{tested}", how)
        test, old = shop.at((tested,)), shop.at(known, VALIDATION, WATCHED)
        models = {"frozen": frozen, "updated": updated, "retrained": retrained}
        steps[tested] = {
            "rows": {"updated": len(rows), "retrained": len(shop.at(weeks, WATCHED)), "test": len(test)},
            "seconds": {way: round(model.seconds, 2) for way, model in models.items()},
            "kept_the_old": bool(updated.fitted.fitted.classifier.report.get("kept_start")),
            "new": {way: _metrics(model.measured(test)) for way, model in models.items()},
            "old": {way: _metrics(model.measured(old)) for way, model in models.items()},
            "old_segments": {way: _by_segment(model.measured(old)) for way, model in models.items()},
        }
        known = weeks
    return {"first": first, "steps": steps}


def _metrics(measured: dict[str, Any]) -> dict[str, float]:
    return {metric: round(measured[metric], 4) for metric in METRICS}


def _by_segment(measured: dict[str, Any]) -> dict[str, float | None]:
    return {name: each["f1"] for name, each in measured["segments"].items()}


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over seeds of one task, and what the goals are measured by."""
    first = {metric: _mean(run["first"][metric] for run in runs) for metric in METRICS}
    moments: dict[str, Any] = {}
    for tested in runs[0]["steps"]:
        steps = [run["steps"][tested] for run in runs]
        mean = {
            where: {
                way: {metric: _mean(step[where][way][metric] for step in steps) for metric in METRICS} for way in WAYS
            }
            for where in ("new", "old")
        }
        moments[str(tested)] = {
            **mean,
            "behind_retrained": _difference(mean["new"], "updated", "retrained"),
            "ahead_of_frozen": _difference(mean["new"], "updated", "frozen"),
            "old_rows": _difference(mean["old"], "updated", "frozen"),
            "old_segments": {
                name: _mean(
                    step["old_segments"]["updated"][name] - step["old_segments"]["frozen"][name] for step in steps
                )
                for name in steps[0]["old_segments"]["frozen"]
                if all(step["old_segments"]["frozen"][name] is not None for step in steps)
            },
            "time": _mean(step["seconds"]["updated"] / step["seconds"]["retrained"] for step in steps),
            "kept_the_old": sum(step["kept_the_old"] for step in steps),
        }
    return {"first": first, "moments": moments}


def drawn(tasks: dict[str, Any], metric: str = "macro_f1") -> str:
    """Return the means of every task as an SVG picture: a chart each, side by side."""
    charts, colours = [], {}
    for n, (task, means) in enumerate(tasks.items()):
        begin = (FIRST_TEST, means["first"][metric])
        series = [
            Series(way, [begin, *((int(week), each["new"][way][metric]) for week, each in means["moments"].items())])
            for way in reversed(WAYS)
        ]
        figure = str(line_chart(f"{task}: {metric}", series, unit="week", size=(200, 150)))
        colours = {name: colour for colour, name in re.findall(r'background:(#\w+)"></span>(\w+)', figure)}
        picture = figure[figure.index("<svg") : figure.index("</svg>") + len("</svg>")]
        placed = picture.replace("<svg ", f'<svg x="{n * PANEL}" y="24" width="{PANEL - 10}" height="190" ', 1)
        charts += [f'<text x="{n * PANEL + 56}" y="16" font-size="14">{task}</text>', placed]
    keys = "".join(
        f'<text x="{56 + n * 110}" y="232" font-size="13" fill="{colour}">● {way}</text>'
        for n, (way, colour) in enumerate(colours.items())
    )
    size = f'viewBox="0 0 {PANEL * len(tasks)} 240" width="{PANEL * len(tasks)}" height="240"'
    paper = '<rect width="100%" height="100%" fill="#fff"/>'
    content = "".join([paper, *charts, keys])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">{content}</svg>\n'


def _difference(metrics: dict[str, dict[str, float]], one: str, other: str) -> dict[str, float]:
    return {metric: round(metrics[one][metric] - metrics[other][metric], 4) for metric in METRICS}


def _mean(values: Any) -> float:
    return round(statistics.mean(values), 4)


def main() -> None:
    """Prepare a home, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "run"))
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", default="17,18,19")
    parser.add_argument("--households", type=int, default=900)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--replay", type=float, default=0.1)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args()
    if wanted.what == "prepare":
        prepare()
        return
    how = (wanted.backbone, dict(option.split("=", 1) for option in wanted.option))
    rows, runs = Rows(dataset(wanted.job)), defaultdict(list)
    for seed in map(int, wanted.seeds.split(",")):
        for task in wanted.tasks.split(","):
            shop = Shop.of(rows, task, seed, wanted.households)
            with tempfile.TemporaryDirectory() as folder:
                runs[task].append(rolled_forward(shop, how, wanted.replay, Path(folder)))
            print(json.dumps({"task": task, "seed": seed, **runs[task][-1]}), flush=True)
    tasks = {task: summary(each) for task, each in runs.items()}
    if wanted.out is not None:
        wanted.out.write_text(drawn(tasks))
    options = {name: value for name, value in vars(wanted).items() if name not in {"what", "out"}}
    print(json.dumps({"bench": "updates", **options, "tasks": tasks}))


if __name__ == "__main__":
    main()
