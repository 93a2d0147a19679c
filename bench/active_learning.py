"""What choosing whom to label is worth: ``segadmin users review`` against random choice, at 64 to 512 labels.

A label is one household as it is at the last training cut-off. 64 households are drawn at random and labelled. Then a
model is fitted, its probabilities order the others, and the first of them are labelled, until there are 128, 256 and
512 labels. A fifth of the labels, drawn at random, is for early stopping and calibration. Ways to choose: ``random``;
``review`` (uncertainty x spend, as the command does); ``uncertainty`` (``--ignore-value``). All begin with the same
households, and are tested on the same rows at later cut-offs. Models: ``tabular`` (the features), and ``minilm`` (a
regression on the features and 32 components of the text's vector by the pretrained MiniLM, which is not tuned).

Needs the home of ``bench.homes future``, no job. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.active_learning [--tasks spend3,growth3,affin10] [--seeds 17,18,19,20,21]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.fusion import vectors_of
from bench.labels import Rows, summary
from segadmin.contracts.backbone import Examples, FitContext
from segadmin.contracts.plugins import load_plugins
from segadmin.evaluation.calibration import fit_temperature, scaled
from segadmin.evaluation.metrics import measure
from segadmin.labels.parts import SplitOptions
from segadmin.settings import get_settings
from segadmin.snapshots.review import rank
from segadmin.storage.store import open_store
from segadmin.text.features import feature_names
from segadmin.text.plan import TextPlan
from segadmin.text.read_buckets import read_buckets
from segadmin.training.dataset import Dataset
from segadmin.training.preparation import LabelledRows
from segadmin.workflows.retrain_request import Retrain

SIZES = (64, 128, 256, 512)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {"tabular": ("tabular", {"min_users": 5}), "minilm": ("linear", {})}
_TOKENS, _COMPONENTS = 64, 32
Choose = Callable[[Examples, NDArray[np.float64], int], list[int]]


def read_rows() -> Rows:
    """Read the households as a retrain would."""
    settings = get_settings()
    prepared = LabelledRows.of(settings, Retrain(labels="spend3").recipe(settings), "spend3", how=SplitOptions())
    plan = TextPlan(recipe=prepared.recipe, training=prepared.windows)
    wanted = prepared.split.select("user_key", "observed_from", "as_of")
    texts = read_buckets(settings, plan, range(open_store(settings).buckets), wanted=wanted)
    names = feature_names(prepared.recipe)
    return Rows(Dataset.of(texts.training, prepared.split, prepared.segments, names))


@cache
def text_vectors(rows: Rows) -> pl.DataFrame:
    """Return ``phrase_hash`` and ``vector``: MiniLM's vector of every text, which all tasks share."""
    texts = pl.concat([getattr(rows.everything, part).frame for part in ("train", "test")]).unique("phrase_hash")
    vectors = vectors_of(texts["phrases"], _TOKENS)
    return texts.select("phrase_hash", vector=pl.Series(vectors))


def with_text_vectors(rows: Rows, pool: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Return both with components of MiniLM's vector of the text as more features; the components are the pool's."""
    from sklearn.decomposition import PCA

    known = text_vectors(rows)
    frames = [
        part.frame.select("phrase_hash").join(known, on="phrase_hash", maintain_order="left") for part in (pool, test)
    ]
    vectors = [frame["vector"].to_numpy() for frame in frames]
    components = PCA(_COMPONENTS, random_state=0).fit(vectors[0])
    names = (*pool.feature_names, *(f"text:{n}" for n in range(_COMPONENTS)))
    both = []
    for part, own in zip((pool, test), vectors, strict=True):
        features = np.concatenate([part.features, components.transform(own)], axis=1).astype(np.float32)
        frame = part.frame.with_columns(features=pl.Series(features).cast(pl.List(pl.Float32)))
        both.append(replace(part, frame=frame, feature_names=names))
    return both[0], both[1]


def some(rows: Examples, places: list[int]) -> Examples:
    """Return the rows at ``places``."""
    return replace(rows, frame=rows.frame[places])


def reviewed(rows: Examples, probabilities: NDArray[np.float64], most: int, *, by_value: bool) -> list[int]:
    """Return the places of the rows that ``segadmin users review`` would list first."""
    spend = rows.features[:, rows.feature_names.index("spend")]
    users = rows.frame.select("phrase_hash", user_key=pl.int_range(pl.len())).with_columns(
        value=pl.Series(np.nan_to_num(spend) if by_value else np.ones(len(rows))),
        probabilities=pl.Series(probabilities.tolist(), dtype=pl.List(pl.Float64)),
    )
    return rank(users, rows.segments, most)["user_key"].to_list()


def ways(seed: int) -> dict[str, Choose]:
    """Return the ways to choose."""
    random = np.random.default_rng(seed + 1000)
    return {
        "random": lambda rows, _, most: random.permutation(len(rows))[:most].tolist(),
        "review": lambda rows, probabilities, most: reviewed(rows, probabilities, most, by_value=True),
        "uncertainty": lambda rows, probabilities, most: reviewed(rows, probabilities, most, by_value=False),
    }


def fitted(model: str, few: Examples, seed: int) -> Callable[[Examples], NDArray[np.float64]]:
    """Fit a model on four fifths of the labels; return how it predicts, calibrated on the other fifth."""
    name, options = MODELS[model]
    order = np.random.default_rng(seed).permutation(len(few))
    held_out = some(few, sorted(order[: len(few) // 5].tolist()))
    train = some(few, sorted(order[len(few) // 5 :].tolist()))
    with tempfile.TemporaryDirectory() as folder:
        run = FitContext(get_settings(), Path(folder), seed)
        classifier = load_plugins(get_settings()).make("backbone", name, options).fit(train, held_out, run)
    temperature = fit_temperature(classifier.predict(held_out).astype(float), held_out.targets)
    return lambda rows: scaled(classifier.predict(rows).astype(float), temperature)


def curve(model: str, pool: Examples, test: Examples, choose: Choose, seed: int) -> dict[int, dict[str, float]]:
    """Return the metrics on ``test`` by number of labels."""
    labelled = np.random.default_rng(seed).permutation(len(pool))[: SIZES[0]].tolist()
    metrics: dict[int, dict[str, float]] = {}
    for size, following in zip(SIZES, (*SIZES[1:], None), strict=True):
        predict = fitted(model, some(pool, labelled), seed)
        measured = measure(predict(test), test.targets, test.segments)
        metrics[size] = {name: float(measured[name]) for name in ("auroc", "macro_f1")}
        if following is None:
            return metrics
        others = sorted(set(range(len(pool))) - set(labelled))
        rows = some(pool, others)
        labelled += [others[place] for place in choose(rows, predict(rows), following - size)]
    raise AssertionError("the last size returns")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="spend3,growth3,affin10")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", default="17,18,19,20,21")
    wanted = parser.parse_args()
    rows, seeds, results = read_rows(), list(map(int, wanted.seeds.split(","))), {}
    for task in wanted.tasks.split(","):
        parts = rows.of(task)
        frame = parts["train"].frame
        pool = replace(parts["train"], frame=frame.filter(pl.col("as_of") == pl.col("as_of").max()))
        for model in wanted.models.split(","):
            own, test = with_text_vectors(rows, pool, parts["test"]) if model == "minilm" else (pool, parts["test"])
            for metric, by_way in measured(model, own, test, seeds).items():
                results[f"{task}, {model}, {metric}"] = summary(by_way)
                print(f"{task}, {model}, {metric}: {json.dumps(summary(by_way))}", flush=True)
    print(json.dumps({"bench": "active_learning", "seeds": seeds, "results": results}))


def measured(
    model: str, pool: Examples, test: Examples, seeds: list[int]
) -> dict[str, dict[str, dict[int, list[float]]]]:
    """Return metric → way, or the lead of a way over random choice → number of labels → a value for each seed."""
    values: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for seed in seeds:
        curves = {way: curve(model, pool, test, choose, seed) for way, choose in ways(seed).items()}
        for way, by_size in curves.items():
            for size, metrics in by_size.items():
                for metric, value in metrics.items():
                    values[metric][way][size].append(value)
                    if way != "random":
                        lead = value - curves["random"][size][metric]
                        values[metric][f"{way} - random"][size].append(lead)
    return values


if __name__ == "__main__":
    main()
