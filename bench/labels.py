"""How few labels do: the same test rows, with 16 to 1,024 labelled households, for several ways to learn.

Needs a home in which ``bench.quality`` ran; the rows and texts of one of its jobs are read. A labelled household brings
all its training cut-offs; a fifth of the labelled ones choose when to stop, so no other label of the task is seen. What
is learnt beside are other label sets, derived from all training households' own later behaviour (``--also``): never the
task's own labeler. Every draw of households has a seed. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.labels [--job 1] [--tasks affin10,spend3,redeem] [--sizes 16,64,256,1024]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

#: What may be learnt beside each task: nothing that its own labeler says.
BESIDE = {
    "affin10": ("affin24", "spend3", "growth3", "lapse4", "redeem", "pl3"),
    "spend3": ("affin24", "growth3", "lapse4", "redeem", "pl3"),
    "redeem": ("affin24", "spend3", "growth3", "lapse4", "pl3"),
}
#: Few rows make few steps an epoch, so there must be many epochs, and patience.
TINY = {"epochs": 60, "batch_size": 16, "patience": 30}
BOTH = {"epochs": 3, "batch_size": 64}


class Rows:
    """The rows of a job, labelled by any label set."""

    def __init__(self, job: int) -> None:
        from bench.rows import dataset
        from segadmin.learn.limits import Limits

        found = dataset(job)
        self._all = found.within(Limits.fit(found.train))

    def of(self, task: str) -> dict[str, Any]:
        """Return ``train``, ``validation`` and ``test`` with the labels of ``task``."""
        import polars as pl

        from segadmin.database import transaction
        from segadmin.events.lake import Lake
        from segadmin.records import LabelSet
        from segadmin.settings import get_settings

        with transaction(get_settings()) as session:
            segments = tuple(session.get_one(LabelSet, task).segments)
        target = pl.col("segment").cast(pl.Enum(segments)).to_physical().cast(pl.Int64).alias("target")
        labels = Lake.of(get_settings()).scan("labels", label_set=task).select("user_key", "as_of", target).collect()
        parts = {}
        for part in ("train", "validation", "test"):
            rows = getattr(self._all, part)
            frame = rows.frame.drop("target").join(labels, on=["user_key", "as_of"], how="inner")
            parts[part] = replace(rows, frame=frame, segments=segments)
        return parts


def learn(
    method: str, few: Any, held_out: Any, test: Any, *, seed: int, starts: dict[str, Path], also: Any, metric: str
) -> float:
    """Return the test ``metric`` of ``method``, learnt from ``few`` and stopped by ``held_out``."""
    from segadmin.learn.backbone import Fit
    from segadmin.learn.metrics import measure
    from segadmin.plugins import load_plugins
    from segadmin.settings import get_settings

    name, options, start, beside = {
        "tabular": ("tabular", {"min_users": 5}, None, {}),
        "linear": ("linear", {}, None, {}),
        "tfidf": ("tfidf", {"min_users": 2}, None, {}),
        "tiny": ("tiny", TINY, None, {}),
        "tiny, pretrained on texts": ("tiny", TINY, "texts", {}),
        "tiny, text alone": ("tiny", TINY | {"features": False}, None, {}),
        "the same, pretrained on texts": ("tiny", TINY | {"features": False}, "texts", {}),
        "tiny, pretrained on behaviour": ("tiny", TINY, "behaviour", {}),
        "the same, head only": ("tiny", TINY | {"tuner": "head"}, "behaviour", {}),
        "foresight": ("foresight", {}, None, also),
        "foresight alone": ("foresight", {"features": False}, None, also),
        "tiny, others beside": ("tiny", BOTH, None, also),
        "stacked on behaviour": (
            "stacked",
            {"text": "tiny", "text_options": ",".join(f"{k}={v}" for k, v in TINY.items()), "beside": "linear,tfidf"},
            "behaviour",
            {},
        ),
    }[method]
    backbone = load_plugins(get_settings()).make("backbone", name, options)
    with tempfile.TemporaryDirectory() as folder:
        run = Fit(get_settings(), Path(folder), seed, start=starts[start] if start else None, also=beside)
        found = backbone.fit(few, held_out, run).predict(test)
    return float(measure(found.astype(float), test.targets, test.segments)[metric])


METHODS = (
    "tabular",
    "linear",
    "tfidf",
    "tiny",
    "tiny, pretrained on texts",
    "tiny, text alone",
    "the same, pretrained on texts",
    "tiny, pretrained on behaviour",
    "the same, head only",
    "stacked on behaviour",
    "foresight",
    "foresight alone",
    "tiny, others beside",
)


def begin(rows: Rows, task: str, seed: int, folder: Path) -> dict[str, Path]:
    """Return two versions to start from: one has read all texts, one has learnt what is beside the task."""
    from segadmin.learn.backbone import Fit, Pretraining
    from segadmin.plugins import load_plugins
    from segadmin.settings import get_settings

    plugins = load_plugins(get_settings())
    every = {name: rows.of(name) for name in BESIDE.get(task, (task,))}
    starts = {kind: folder / f"{task}-{seed}-{kind}" for kind in ("texts", "behaviour")}
    first, *others = every
    main = every[first]
    with tempfile.TemporaryDirectory() as scratch:
        run = Fit(get_settings(), Path(scratch), seed)
        backbone = plugins.make("backbone", "tiny", {"epochs": 6, "batch_size": 32})
        backbone.pretrain(main["train"], main["validation"], run, Pretraining()).save(starts["texts"])
    if not others:
        return starts
    with tempfile.TemporaryDirectory() as scratch:
        also = {name: every[name]["train"] for name in others}
        run = Fit(get_settings(), Path(scratch), seed, also=also, start=starts["texts"])
        backbone = plugins.make("backbone", "tiny", {"epochs": 6, "features": False, "batch_size": 32})
        backbone.fit(main["train"], main["validation"], run).save(starts["behaviour"])
    return starts


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
    parser.add_argument("--tasks", default=",".join(BESIDE))
    parser.add_argument("--sizes", default="16,32,64,128,256,512,1024")
    parser.add_argument("--seeds", default="17,18,19")
    parser.add_argument("--methods", default=";".join(METHODS))
    parser.add_argument("--metric", default="auroc", choices=("auroc", "macro_f1"))
    wanted = parser.parse_args()
    rows, sizes, seeds = Rows(wanted.job), *(list(map(int, one.split(","))) for one in (wanted.sizes, wanted.seeds))
    told: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for task in wanted.tasks.split(","):
                parts, before = rows.of(task), time.monotonic()
                needed = any("pretrained" in one or "behaviour" in one for one in wanted.methods.split(";"))
                starts = begin(rows, task, seed, Path(folder)) if needed else {}
                print(f"{task}, seed {seed}: pretrained in {time.monotonic() - before:.0f} s", flush=True)
                also = {name: rows.of(name)["train"] for name in BESIDE.get(task, ())}
                for size in sizes:
                    few, held_out = drawn(parts, size, seed)
                    for method in wanted.methods.split(";"):
                        if method == "tiny, others beside" and (size != 64 or not also):
                            continue  # it reads everything each time: minutes each
                        options: Any = {"seed": seed, "starts": starts, "also": also, "metric": wanted.metric}
                        told[task][method][size].append(learn(method, few, held_out, parts["test"], **options))
                    line = (f"{name} {one[size][-1]:.3f}" for name, one in told[task].items() if size in one)
                    print(f"  {size:>5} households:", " · ".join(line), flush=True)
    print(json.dumps({"bench": "labels", "seeds": seeds, "tasks": {t: summary(one) for t, one in told.items()}}))


def summary(told: dict[str, dict[int, list[float]]]) -> dict[str, dict[int, list[float]]]:
    """Return mean and deviation over the seeds."""
    return {
        method: {
            size: [round(statistics.mean(one), 4), round(statistics.stdev(one), 4) if len(one) > 1 else 0.0]
            for size, one in sizes.items()
        }
        for method, sizes in told.items()
    }


if __name__ == "__main__":
    main()
