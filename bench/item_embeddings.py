"""Whether item titles, read by a sentence encoder, help as features of users.

Needs a home that ``bench.homes future`` made and a retrain whose rows are used. Each distinct title and brand is read
once by the pretrained MiniLM, its last states averaged. A user's vector at a cut-off is the mean over what they bought
in the weeks before, weighted by recency (halved every four weeks); principal components, fitted on training rows, make
``--components`` features of it. ``tabular`` and ``linear`` are fitted with and without them on the same rows. Intervals
are 95 % over households, of the mean over the seeds, which hold out other households. The last line is JSON.

    SEGADMIN_HOME=HOME python -m bench.item_embeddings --job 1 [--tasks affin10,pl3] [--components 32]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.fusion import TASKS, fitted, parts_of, spread, vectors_of
from bench.labels import Rows
from bench.rows import dataset

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

WEEKS, HALF_LIFE = 16, timedelta(weeks=4)
MODELS = ("linear", "tabular")


def titles() -> pl.DataFrame:
    """Return ``item`` and the number of its title."""
    import polars as pl

    from segadmin.settings import get_settings
    from segadmin.storage.lake import Lake

    words = pl.concat_str(pl.col("title"), pl.col("brand"), separator=", ", ignore_nulls=True).str.to_lowercase()
    items = Lake.of(get_settings()).scan("items").select("item", words=words).collect()
    return items.with_columns(title=pl.col("words").fill_null("").rank("dense").cast(pl.Int64) - 1)


def pooled(moments: pl.DataFrame, items: pl.DataFrame, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vectors of users at ``moments`` (``user_key``, ``as_of``), ``(n_rows, width)``."""
    import polars as pl

    from segadmin.settings import get_settings
    from segadmin.storage.lake import Lake

    events = Lake.of(get_settings()).scan("events").select("user_key", "item", "at")
    age = pl.col("as_of") - pl.col("at")
    weights = (
        moments.with_row_index("row")
        .lazy()
        .join(events, on="user_key")
        .filter((age > timedelta(0)) & (age <= timedelta(weeks=WEEKS)))
        .with_columns(weight=2.0 ** -(age.dt.total_seconds() / HALF_LIFE.total_seconds()))
        .join(items.lazy().select("item", "title"), on="item")
        .group_by("row", "title")
        .agg(pl.col("weight").sum())
        .collect()
    )
    from scipy.sparse import csr_array

    shape = (len(moments), len(vectors))
    bought = csr_array((weights["weight"], (weights["row"], weights["title"])), shape=shape)
    total = np.maximum(bought.sum(axis=1), 1e-9)
    mean: NDArray[np.float32] = ((bought @ vectors) / total[:, None]).astype(np.float32)
    return mean


class ItemFeatures:
    """The vectors of all rows, and how they become features."""

    def __init__(self, rows: Rows, components: int) -> None:
        import polars as pl

        items = titles()
        words = items.unique("title").sort("title")["words"].fill_null("")
        vectors = vectors_of(pl.Series([[text] for text in words]), 64)
        frame = pl.concat([getattr(rows.everything, part).frame for part in ("train", "validation", "test")])
        self._key = frame.select("user_key", "as_of").with_row_index("vector")
        self._vectors = pooled(frame.select("user_key", "as_of"), items, vectors)
        self._components = components
        self.titles = len(words)

    def added(self, parts: dict[str, Any]) -> dict[str, Any]:
        """Return ``parts`` with the features, whose components are those of the training rows."""
        from sklearn.decomposition import PCA

        vectors = {name: self._of(part) for name, part in parts.items()}
        components = PCA(self._components, random_state=0).fit(vectors["train"])
        return {name: self._with(part, components.transform(vectors[name])) for name, part in parts.items()}

    def _of(self, rows: Any) -> NDArray[np.float32]:
        numbers = rows.frame.join(self._key, on=["user_key", "as_of"], how="left", maintain_order="left")["vector"]
        vectors: NDArray[np.float32] = self._vectors[numbers.to_numpy()]
        return vectors

    def _with(self, rows: Any, more: NDArray[np.float32]) -> Any:
        import polars as pl

        both = np.concatenate([rows.features, more], axis=1).astype(np.float32)
        features = pl.Series("features", both).cast(pl.List(pl.Float32))
        names = (*rows.feature_names, *(f"items:{n}" for n in range(more.shape[1])))
        return replace(rows, frame=rows.frame.with_columns(features), feature_names=names)


def measured(rows: Rows, items: ItemFeatures, task: str, seeds: list[int]) -> dict[str, Any]:
    """Fit the models with and without the features of the items, and compare."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.bootstrap import Interval, auroc_draws
    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.pooled import pool, weigh

    draws: dict[str, list[Any]] = defaultdict(list)
    for seed in seeds:
        own = parts_of(rows, task, seed, most=1_000_000)
        targets, users = own["test"].targets, own["test"].frame["user_key"].to_numpy()
        for suffix, parts in (("", own), (" with items", items.added(own))):
            results = {}
            for name in MODELS:
                results[name] = fitted(load_plugins(get_settings()).make("backbone", name, {}), parts, seed)
                draws[name + suffix].append(auroc_draws(results[name][1].astype(float), targets, users))
            weights = weigh({name: result[0] for name, result in results.items()}, parts["validation"])
            both = pool({name: result[1] for name, result in results.items()}, weights)
            draws["both" + suffix].append(auroc_draws(both.astype(float), targets, users))
    mean = {name: np.mean(each, axis=0) for name, each in draws.items()}
    leads = {name: mean[f"{name} with items"] - mean[name] for name in (*MODELS, "both")}
    return {
        "auroc": {name: spread([float(draw[0]) for draw in each]) for name, each in draws.items()},
        "leads": {name: str(Interval.of(float(apart[0]), apart[1:])) for name, apart in leads.items()},
    }


def main() -> None:
    """Measure every task, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", type=int, required=True)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", default="17")
    parser.add_argument("--components", type=int, default=32)
    wanted = parser.parse_args()
    rows = Rows(dataset(wanted.job))
    items, tasks = ItemFeatures(rows, wanted.components), {}
    print(f"{items.titles} titles", flush=True)
    for task in wanted.tasks.split(","):
        tasks[task] = measured(rows, items, task, [int(seed) for seed in wanted.seeds.split(",")])
        print(f"{task:<8} {tasks[task]}", flush=True)
    facts = {"components": wanted.components, "seeds": wanted.seeds, "titles": items.titles}
    print(json.dumps({"bench": "item_embeddings", **facts, "tasks": tasks}))


if __name__ == "__main__":
    main()
