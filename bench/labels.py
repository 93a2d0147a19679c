"""How few labels do: the same test rows, with 16 to 1,024 labelled households, for several ways to learn.

Needs a home in which ``bench.quality`` ran; the rows and texts of one of its jobs are used. A labelled household brings
all its training cut-offs; a fifth of the labelled ones is used for validation, so no other label of the task is seen.
Auxiliary label sets are derived from events alone, of all training households (see ``docs/reference/quality.md``).
Every draw of households has a seed. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.labels [--job 1] [--tasks affin10,spend3,redeem] [--sizes 16,64,256,1024]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.homes import NEXT

#: Of what everybody will do in the next four weeks (``NEXT``), what is of the task's own kind, which the stricter way
#: leaves out. The tasks themselves speak of eight weeks.
SAME_KIND = {"affin10": "next_departments", "spend3": "next_spend", "redeem": "next_coupon"}


class Rows:
    """The rows of a job, labelled by any label set."""

    def __init__(self, job: int) -> None:
        from bench.rows import dataset
        from segadmin.inference.clipping import Limits

        rows = dataset(job)
        #: of all tasks, features clipped
        self.all = rows.within(Limits.fit(rows.train))

    def of(self, task: str) -> dict[str, Any]:
        """Return ``train``, ``validation`` and ``test`` with the labels of ``task``."""
        import polars as pl

        from segadmin.settings import get_settings
        from segadmin.storage.database import transaction
        from segadmin.storage.lake import Lake
        from segadmin.storage.records import LabelSet

        with transaction(get_settings()) as session:
            segments = tuple(session.get_one(LabelSet, task).segments)
        target = pl.col("segment").cast(pl.Enum(segments)).to_physical().cast(pl.Int64).alias("target")
        labels = Lake.of(get_settings()).scan("labels", label_set=task).select("user_key", "as_of", target).collect()
        parts = {}
        for part in ("train", "validation", "test"):
            rows = getattr(self.all, part)
            frame = rows.frame.drop("target").join(labels, on=["user_key", "as_of"], how="inner")
            parts[part] = replace(rows, frame=frame, segments=segments)
        return parts


@dataclass(frozen=True)
class Before:
    """What was learnt before any label of the task was seen."""

    task: str
    seed: int
    also: dict[str, Any]  #: rows of the label sets that everybody has
    foreseen: Any  #: the models of them
    pretrained: Path | None  #: a version that has read all texts


def learn(method: str, parts: tuple[Any, Any, Any], before: Before, metric: str) -> float:
    """Return the test ``metric`` of ``method``, learnt from the first of ``parts`` and stopped by the second."""
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.plugins import load_plugins
    from segadmin.errors import DataError
    from segadmin.evaluation.metrics import measure
    from segadmin.settings import get_settings

    few, held_out, test = parts
    name, options = METHODS[method]
    backbone = load_plugins(get_settings()).make("backbone", name, options)
    with tempfile.TemporaryDirectory() as folder:
        run = FitContext(
            get_settings(), Path(folder), before.seed, start=before.pretrained if "read all texts" in method else None
        )
        if name == "auxiliary-stacking":
            left_out = SAME_KIND.get(before.task) if "other kinds" in method else None
            models = {key: model for key, model in before.foreseen.items() if key.rpartition(":")[0] != left_out}
            run = replace(run, also={key: rows for key, rows in before.also.items() if key != left_out})
            fitted = backbone.fit_on(models, few, held_out, run)
        else:
            also = before.also if "beside" in method else {}
            try:
                fitted = backbone.fit(few, held_out, replace(run, also=also))
            except DataError:  # all are in one segment, so there is nothing to tell apart
                return 0.5 if metric == "auroc" else float("nan")
        probabilities = fitted.predict(test)
    return float(measure(probabilities.astype(float), test.targets, test.segments)[metric])


#: Few rows make few steps an epoch, so there must be many epochs, and patience.
TINY = {"epochs": 60, "batch_size": 16, "patience": 30}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "tabular": ("tabular", {"min_users": 5}),
    "linear": ("linear", {}),
    "tfidf": ("tfidf", {"min_users": 2}),
    "tiny": ("tiny", TINY),
    "tiny, read all texts": ("tiny", TINY),
    "tiny, text alone": ("tiny", TINY | {"features": False}),
    "tiny, text alone, read all texts": ("tiny", TINY | {"features": False}),
    "tiny, six beside": ("tiny", {"epochs": 3, "batch_size": 64}),
    "auxiliary-stacking, other kinds": ("auxiliary-stacking", {}),
    "auxiliary-stacking": ("auxiliary-stacking", {}),
}


def begin(rows: Rows, task: str, seed: int, methods: list[str], folder: Path) -> Before:
    """Learn what needs no label of the task: what people will do, and, where asked for, how they read."""
    from segadmin.contracts.backbone import FitContext, Pretraining
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import get_settings

    plugins, run = load_plugins(get_settings()), FitContext(get_settings(), folder, seed)
    also = {name: rows.of(name)["train"] for name in NEXT if task in SAME_KIND}
    foreseen, pretrained = {}, None
    if any("auxiliary-stacking" in method for method in methods):
        foreseen = plugins.make("backbone", "auxiliary-stacking", {}).fit_auxiliary_models(replace(run, also=also))
    if any("read all texts" in method for method in methods):
        pretrained, parts = folder / "pretrained", rows.of(task)
        backbone = plugins.make("backbone", "tiny", {"epochs": 12, "batch_size": 32})
        backbone.pretrain(parts["train"], parts["validation"], run, Pretraining()).save(pretrained)
    return Before(task, seed, also, foreseen, pretrained)


def drawn(parts: dict[str, Any], size: int, seed: int) -> tuple[Any, Any]:
    """Return the rows of ``size`` households: four fifths to learn from, a fifth to stop by."""
    import numpy as np
    import polars as pl

    users = np.sort(parts["train"].frame["user_key"].unique().to_numpy())
    chosen = np.random.default_rng(seed).permutation(users)[:size]
    last = max(2, size // 5)
    few, held_out = (
        replace(parts["train"], frame=parts["train"].frame.filter(pl.col("user_key").is_in(some.tolist())))
        for some in (chosen[last:], chosen[:last])
    )
    return few, held_out


def main() -> None:
    """Learn in every way from every number of households, and print the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--tasks", default=",".join(SAME_KIND))
    parser.add_argument("--sizes", default="16,32,64,128,256,512,1024")
    parser.add_argument("--seeds", default="17,18,19")
    parser.add_argument("--methods", default=";".join(METHODS))
    parser.add_argument("--metric", default="auroc", choices=("auroc", "macro_f1"))
    wanted = parser.parse_args()
    rows, sizes, seeds = (
        Rows(wanted.job),
        *(list(map(int, numbers.split(","))) for numbers in (wanted.sizes, wanted.seeds)),
    )
    methods = wanted.methods.split(";")
    metrics: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for seed in seeds:
        for task in wanted.tasks.split(","):
            with tempfile.TemporaryDirectory() as folder:
                parts, start = rows.of(task), time.monotonic()
                before = begin(rows, task, seed, methods, Path(folder))
                print(f"{task}, seed {seed}: {time.monotonic() - start:.0f} s before the first label", flush=True)
                for size in sizes:
                    three = (*drawn(parts, size, seed), parts["test"])
                    for method in methods:
                        metrics[task][method][size].append(learn(method, three, before, wanted.metric))
                    line = (f"{name} {by_size[size][-1]:.3f}" for name, by_size in metrics[task].items())
                    print(f"  {size:>5} households:", " · ".join(line), flush=True)
    print(
        json.dumps(
            {"bench": "labels", "seeds": seeds, "tasks": {t: summary(by_method) for t, by_method in metrics.items()}}
        )
    )


def summary(metrics: dict[str, dict[int, list[float]]]) -> dict[str, dict[int, list[float]]]:
    """Return mean and deviation over the seeds."""
    return {
        method: {
            size: [round(statistics.mean(values), 4), round(statistics.stdev(values), 4) if len(values) > 1 else 0.0]
            for size, values in sizes.items()
        }
        for method, sizes in metrics.items()
    }


if __name__ == "__main__":
    main()
