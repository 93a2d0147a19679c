"""How few labels do if unlabelled users are used, without a label set of the task's kind.

The protocol is that of ``bench.labels``: the same draws of labelled households and test rows in one home. Unlabelled
are all households that are not held out, at the training cut-offs. What is left out of their outcomes: of the task's
own kind (``LEAVE_OUT``, first), or everything that measures the same, though not in the same way (second). Needs the
home of ``bench.homes future``, no job. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.few_labels [--tasks affin10,spend3,redeem] [--methods "self-supervised;linear"]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.labels import METHODS, SAME_KIND, Rows, drawn, summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Patterns of outcomes that are left out: of the task's own kind; and all that measure the same in another way. No
#: outcome is about redeemed coupons (they are too rare to be a feature); ``uses:*`` is other coupons.
LEAVE_OUT = {
    "affin10": ("facet:*", "facet:*,share:*"),
    "spend3": ("spend*", "spend*,visits*,items,categories,quantity,purchase_events"),
    "redeem": ("uses:redeemed", "uses:*"),
}

#: Low-rank tuning on few rows: many epochs, and patience.
LORA = {"tuner": "lora", "epochs": "20", "batch_size": "16", "patience": "10", "learning_rate": "1e-4"}


@dataclass(frozen=True)
class Few:
    """What a method learns from: the labels of a few households, and rows without labels."""

    task: str
    seed: int
    train: Any
    validation: Any
    test: Any
    unlabelled: Any  #: users and their outcomes
    tested: Any  #: ``user_key``, ``as_of`` of the test rows of all tasks

    def run(self) -> Any:
        """Return the context of a fit."""
        from segadmin.contracts.backbone import FitContext
        from segadmin.settings import get_settings

        return FitContext(get_settings(), Path(tempfile.gettempdir()), self.seed, unlabelled=self.unlabelled)


def read_rows() -> tuple[Rows, Any]:
    """Read the households as a retrain with ``self-supervised`` would; return labelled rows and unlabelled users."""
    import polars as pl

    from segadmin.contracts.backbone import UnlabelledUsers
    from segadmin.labels.parts import SplitOptions
    from segadmin.settings import get_settings
    from segadmin.storage.store import open_store
    from segadmin.text.features import feature_names
    from segadmin.text.plan import TextPlan
    from segadmin.text.read_buckets import read_buckets
    from segadmin.training.dataset import Dataset, labelled
    from segadmin.training.preparation import LabelledRows
    from segadmin.workflows.retrain_request import Retrain

    settings = get_settings()
    recipe = Retrain(labels="spend3").recipe(settings)
    prepared = LabelledRows.of(settings, recipe, "spend3", how=SplitOptions(), unlabelled=True)
    assert prepared.unlabelled is not None
    others, names = prepared.unlabelled, feature_names(prepared.recipe)
    plan = TextPlan(recipe=prepared.recipe, training=prepared.windows, outcomes=others.outcomes)
    columns = ["user_key", "observed_from", "as_of"]
    wanted = pl.concat([prepared.split.select(columns), others.rows.select(columns)]).unique(["user_key", "as_of"])
    buckets = range(open_store(settings).buckets)
    texts = read_buckets(settings, plan, buckets, wanted=wanted, unlabelled=others.rows)
    rows = Rows(Dataset.of(texts.training, prepared.split, prepared.segments, names))
    with_outcomes = others.rows.join(pl.concat(texts.outcomes), on=["user_key", "as_of"])
    users = rows.limits.clip(labelled(texts.training, with_outcomes, prepared.segments, names))
    return rows, UnlabelledUsers(users, feature_names(others.outcomes.recipe))


def backbone(name: str, level: int | None = None, **options: Any) -> Callable[[Few], NDArray[np.float32]]:
    """Return a method that fits a backbone, without the outcomes of a level of ``LEAVE_OUT``."""

    def predict(few: Few) -> NDArray[np.float32]:
        import numpy as np

        from segadmin.contracts.plugins import load_plugins
        from segadmin.errors import DataError
        from segadmin.settings import get_settings

        chosen = options if level is None else options | {"leave_out": LEAVE_OUT[few.task][level]}
        made = load_plugins(get_settings()).make("backbone", name, chosen)
        try:
            return np.asarray(made.fit(few.train, few.validation, few.run()).predict(few.test))
        except DataError:  # all are in one segment, so there is nothing to tell apart
            return np.ones((len(few.test), len(few.test.segments)), np.float32)

    return predict


def names_alone(few: Few) -> NDArray[np.float32]:
    """Fit the regression with its prior on the features that have the names of segments, without a representation."""
    import numpy as np

    from segadmin_plugins.backbones.prior_regression import fit_prior_regression
    from segadmin_plugins.backbones.self_supervised import SelfSupervised, namesakes

    groups = namesakes(few.train)
    columns = sorted({column for group in groups for column in group if column is not None})
    if not columns:
        return np.ones((len(few.test), len(few.test.segments)), np.float32)
    names = tuple(few.train.feature_names[column] for column in columns)
    named = [[None if column is None else few.train.feature_names[column] for column in group] for group in groups]
    some = [_with_features(rows, columns, names) for rows in (few.train, few.validation, few.test)]
    return fit_prior_regression(some[0], some[1], named, SelfSupervised().ridges, few.seed).predict(some[2])


def _with_features(rows: Any, columns: list[int], names: tuple[str, ...]) -> Any:
    import polars as pl

    features = pl.Series("features", rows.features[:, columns]).cast(pl.List(pl.Float32))
    return replace(rows, frame=rows.frame.with_columns(features), feature_names=names)


def on_representation(represent: Callable[[Few, Any], NDArray[np.float64]]) -> Callable[[Few], NDArray[np.float32]]:
    """Return a method that fits the regression of ``self-supervised`` on ``represent(few, rows)``."""

    def predict(few: Few) -> NDArray[np.float32]:
        from segadmin_plugins.backbones.numbers import softmax
        from segadmin_plugins.backbones.prior_regression import Rows as Columns
        from segadmin_plugins.backbones.prior_regression import fit_with_prior
        from segadmin_plugins.backbones.self_supervised import SelfSupervised

        train, validation = (Columns(represent(few, rows), rows) for rows in (few.train, few.validation))
        weights, bias, _ = fit_with_prior(train, validation, [], SelfSupervised().ridges, few.seed)
        return softmax(represent(few, few.test) @ weights.T + bias)

    return predict


def outcomes_of(few: Few, rows: Any) -> NDArray[np.float64]:
    """Return the representation of ``self-supervised``."""
    import numpy as np

    from segadmin_plugins.backbones.features.matrix import scaled_features
    from segadmin_plugins.backbones.self_supervised import SelfSupervised

    scaling, encoder, _ = SelfSupervised(leave_out=tuple(LEAVE_OUT[few.task][0].split(","))).representation(
        few.unlabelled
    )
    return np.asarray(scaled_features(rows, scaling) @ encoder)


class Contrastive:
    """Rows represented by ``bench.contrastive``, which is learnt once."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.known = seconds, None

    def __call__(self, few: Few, rows: Any) -> NDArray[np.float64]:
        """Return the states of ``rows``, whitened on unlabelled users."""
        import numpy as np
        import polars as pl

        if self.known is None:
            self.known = self._learn(few)
        keyed = self.known[0].with_columns(pl.Series("states", self.known[1]))
        states = rows.frame.select("user_key", "as_of").join(keyed, on=["user_key", "as_of"], maintain_order="left")
        return np.asarray(states["states"].to_numpy(), np.float64)

    def _learn(self, few: Few) -> tuple[Any, NDArray[np.float64]]:
        import numpy as np
        import polars as pl

        from bench.contrastive import representations
        from segadmin.labels.labeling import labelling_events
        from segadmin.settings import get_settings
        from segadmin.storage.lake import Lake

        columns = ("user_key", "at", "price", "category", "title")
        events = labelling_events(Lake.of(get_settings())).select(columns).collect()
        unlabelled, keys = few.unlabelled.users.frame, ["user_key", "as_of"]
        rows = pl.concat([unlabelled.select(keys), few.tested.select(keys)]).unique(maintain_order=True)
        users = unlabelled["user_key"].unique().sort().to_list()
        until = few.tested["as_of"].min()
        states = representations(events, users, rows, until=until, days=112, seconds=self.seconds).astype(np.float64)
        known = states[: len(unlabelled)]
        _, deviations, axes = np.linalg.svd(known - known.mean(axis=0), full_matrices=False)
        components = (states - known.mean(axis=0)) @ axes[:32].T
        return rows, components / (deviations[0] / np.sqrt(len(known)))


class ShopPretrained:
    """A language model that has read the texts of the unlabelled users, once; the version is kept in the home."""

    def __init__(self, name: str, **options: str) -> None:
        self.name, self.options = name, options

    def folder(self, few: Few) -> Path:
        """Return the folder of the version."""
        from segadmin.contracts.backbone import Pretraining
        from segadmin.contracts.plugins import load_plugins
        from segadmin.settings import get_settings

        folder = Path(get_settings().root) / f"bench-few-labels-{self.name}"
        if not folder.exists():
            texts, run = few.unlabelled.users, few.run()
            backbone = load_plugins(run.settings).make("backbone", self.name, self.options)
            some = replace(texts, frame=texts.frame.sample(200, seed=0))
            with tempfile.TemporaryDirectory() as work:
                model = backbone.pretrain(texts, some, replace(run, checkpoints=Path(work)), Pretraining())
            print(json.dumps({"pretrained": self.name, **model.report}), flush=True)
            model.save(folder)
        return folder

    def tuned(self, **options: str) -> Callable[[Few], NDArray[np.float32]]:
        """Return a method that fine-tunes it."""

        def predict(few: Few) -> NDArray[np.float32]:
            import numpy as np

            from segadmin.contracts.plugins import load_plugins

            if len(np.unique(few.train.targets)) < 2:
                return np.ones((len(few.test), len(few.test.segments)), np.float32)
            start, run = self.folder(few), few.run()
            made = load_plugins(run.settings).make("backbone", self.name, options)
            with tempfile.TemporaryDirectory() as work:
                fitted = made.fit(few.train, few.validation, replace(run, checkpoints=Path(work), start=start))
                return np.asarray(fitted.predict(few.test))

        return predict

    def consistent(self, weight: float, threshold: float = 0.0) -> Callable[[Few], NDArray[np.float32]]:
        """Return a method that trains it with ``bench.consistency``."""
        from bench.consistency import Consistency

        return lambda few: Consistency(weight, threshold)(few, self.folder(few))


def spread(few: Few) -> NDArray[np.float32]:
    """Spread the labels over the neighbours of the representation (Zhou et al. 2004)."""
    from sklearn.semi_supervised import LabelSpreading

    return _semi_supervised(few, LabelSpreading(kernel="knn", n_neighbors=30, alpha=0.5, max_iter=100))


def self_train(few: Few) -> NDArray[np.float32]:
    """Add the surest predictions for unlabelled users to the labels, until none is sure (Yarowsky 1995)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import SelfTrainingClassifier

    return _semi_supervised(few, SelfTrainingClassifier(LogisticRegression(C=0.3), threshold=0.8))


def _semi_supervised(few: Few, model: Any) -> NDArray[np.float32]:
    import numpy as np

    x, others = outcomes_of(few, few.train), outcomes_of(few, few.unlabelled.users)
    labels = np.concatenate([few.train.targets, np.full(len(others), -1)])
    probabilities = np.zeros((len(few.test), len(few.test.segments)), np.float32)
    if len(np.unique(few.train.targets)) < 2:
        return probabilities + 1
    model.fit(np.concatenate([x, others]), labels)
    probabilities[:, model.classes_[model.classes_ >= 0]] = np.nan_to_num(
        model.predict_proba(outcomes_of(few, few.test))
    )
    return probabilities


def methods(seconds: float) -> dict[str, Callable[[Few], NDArray[np.float32]]]:
    """Return every method by its name; ``seconds`` is how long the contrastive one learns."""
    from bench.setfit import setfit

    tiny = ShopPretrained("tiny", epochs="12", batch_size="32")
    plain = {name: backbone(METHODS[name][0], **METHODS[name][1]) for name in ("tabular", "linear")}
    return plain | {
        "self-supervised": backbone("self-supervised", level=0),
        "self-supervised, stricter": backbone("self-supervised", level=1),
        "self-supervised, no names": backbone("self-supervised", level=0, namesakes=False),
        "names alone": names_alone,
        "label spreading": spread,
        "self-training": self_train,
        "contrastive": on_representation(Contrastive(seconds)),
        "setfit": setfit,
        "tiny, pretrained, lora": tiny.tuned(**LORA),
        "consistency off": tiny.consistent(0.0),
        "mean teacher": tiny.consistent(1.0),
        "fixmatch": tiny.consistent(1.0, threshold=0.8),
    }


def main() -> None:
    """Learn in every way from every number of households, and print the curves."""
    from segadmin.evaluation.metrics import measure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(SAME_KIND))
    parser.add_argument("--sizes", default="16,32,64,128,256,512,1024")
    parser.add_argument("--seeds", default="17,18,19")
    parser.add_argument("--methods", default="tabular;linear;self-supervised;self-supervised, stricter")
    parser.add_argument("--seconds", type=float, default=300, help="how long the contrastive method learns")
    parser.add_argument("--test", type=int, default=100_000, help="most test rows")
    wanted = parser.parse_args()
    sizes, seeds = (list(map(int, numbers.split(","))) for numbers in (wanted.sizes, wanted.seeds))
    known = methods(wanted.seconds)
    metrics: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    rows, unlabelled = read_rows()
    for task in wanted.tasks.split(","):
        parts = rows.of(task)
        tested = parts["test"].frame
        test = replace(parts["test"], frame=tested.sample(min(wanted.test, len(tested)), seed=0))
        for size in sizes:
            for seed in seeds:
                few = Few(task, seed, *drawn(parts, size, seed), test, unlabelled, rows.everything.test.frame)
                for name in wanted.methods.split(";"):
                    start = time.monotonic()
                    probabilities = known[name](few).astype(float)
                    probabilities /= probabilities.sum(axis=1, keepdims=True)
                    auroc = float(measure(probabilities, few.test.targets, few.test.segments)["auroc"])
                    metrics[task][name][size].append(auroc)
                    print(f"{task} {size:>5} {seed} {name}: {auroc:.3f} {time.monotonic() - start:.1f} s", flush=True)
    curves = {task: summary(by_method) for task, by_method in metrics.items()}
    print(json.dumps({"bench": "few_labels", "seeds": seeds, "tasks": curves}))


if __name__ == "__main__":
    main()
