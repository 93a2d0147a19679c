"""How well an attacker can tell whom a model was trained on, before and after users are erased.

``attack``: two attacks on models of some backbones. The loss attack (Yeom et al. 2018) takes users for trained on whose
segment the model predicts best; the card of every model version has its AUC. The shadow-model attack (LiRA; Carlini et
al.: Membership Inference Attacks From First Principles. IEEE S&P 2022) compares each user's loss with those of models
that were and were not trained on that user. Every model is the target once, the others are its shadows. The rows are
those of a retrain of this home (``--job``), else of a planted shop.

``erasure``: trains on a planted shop, erases a third of the training users, trains again, and attacks them: can they be
distinguished from users whom no model was ever trained on? The attacker who kept the first version is measured, too.
Last line: JSON.

    python -m bench.membership attack [--job 1] [--backbones "tabular;tfidf"] [--shadows 8] [--users 800]
    python -m bench.membership erasure [--backbones tfidf] [--users 800]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score, roc_curve

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.contracts.plugins import load_plugins
from segadmin.evaluation.bootstrap import Interval
from segadmin.evaluation.membership import attack_auc, matched_rows
from segadmin.evaluation.metrics import losses, measure
from segadmin.inference.clipping import Limits
from segadmin.inference.predictor import Predictor, load_predictor
from segadmin.models.artifact import Saved
from segadmin.settings import Settings, get_settings

#: What is attacked: name → backbone and options. Two are there to show that the attacks work.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "tabular": ("tabular", {}),
    "linear": ("linear", {}),
    "tfidf": ("tfidf", {}),
    "tiny": ("tiny", {"head_steps": 100}),
    "tabular, overfitted": ("tabular", {"leaves": 63, "min_users": 1, "learning_rate": 0.3}),
    "tfidf, overfitted": ("tfidf", {"min_users": 1, "strengths": [1e5]}),
}
#: Fraction of the users on whom no model is trained: they decide when training stops.
_VALIDATION = 0.2
_FALSE_POSITIVES = 0.01


@contextmanager
def planted_home(users: int) -> Iterator[Settings]:
    """Use a new home with a planted shop whose spend is labelled; yield its settings."""
    from tests.planted import label_future_spend, plant

    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGADMIN_HOME"] = folder
        get_settings.cache_clear()
        plant(get_settings(), users=users)
        label_future_spend(get_settings())
        yield get_settings()


def retrain(settings: Settings, method: str, seed: int) -> int:
    """Train with a split by user and return the job."""
    from tests.planted import LABELS, through_the_engine

    backbone, options = METHODS[method]
    request = {"backbone": backbone, "backbone_options": options, "labels": LABELS, "split": "user", "seed": seed}
    return through_the_engine(settings, "retrain", request | {"baselines": [], "margin": -1, "held_out": 0.25})


def shadow_models(method: str, rows: Examples, validation: Examples, shadows: int, seed: int) -> tuple[Any, Any, float]:
    """Fit models on half of the users each.

    Returns:
        The log-odds of the true segment, and whether the model was trained on the row, ``(shadows, n_rows)``; and the
        mean AUROC on rows that it was not trained on.
    """
    users, user_of_row = np.unique(rows.frame["user_key"].to_numpy(), return_inverse=True)
    order = np.random.default_rng(seed).random((shadows, len(users))).argsort(axis=0)
    trained = (order < shadows // 2)[:, user_of_row]
    name, options = METHODS[method]
    backbone = load_plugins(Settings()).make("backbone", name, options)
    log_odds, aurocs = [], []
    for number, is_in in enumerate(trained):
        with tempfile.TemporaryDirectory() as folder:
            run = FitContext(Settings(), Path(folder), seed + number)
            model = backbone.fit(replace(rows, frame=rows.frame.filter(pl.Series(is_in))), validation, run)
            probabilities = model.predict(rows).astype(float)
        loss = losses(probabilities, rows.targets)
        log_odds.append(-loss - np.log(np.clip(1 - np.exp(-loss), 1e-7, None)))
        aurocs.append(measure(probabilities[~is_in], rows.targets[~is_in], rows.segments)["auroc"])
    return np.stack(log_odds), trained, float(np.mean(aurocs))


def likelihood_ratios(log_odds: Any, trained: Any, target: int) -> Any:
    """Return the score of every row by LiRA, ``(n_rows,)``, with one variance for all rows as there are few shadows.

    Half of all models were trained on a row, so the other models would betray by their number on which side the target
    is. One shadow of the other side, drawn at random, is left out.
    """
    shadows, sides = (np.delete(values, target, axis=0) for values in (log_odds, trained))
    draws = np.random.default_rng(target).random(sides.shape)
    left_out = np.where(sides != trained[target], draws, -1).argmax(axis=0)
    used = np.arange(len(sides))[:, None] != left_out
    scores = []
    for is_in in (sides & used, ~sides & used):
        values = np.where(is_in, shadows, np.nan)
        mean = np.nanmean(values, axis=0)
        variance = np.nansum((values - mean) ** 2) / (is_in.sum(axis=0) - 1).sum() + 1e-9
        scores.append(-((log_odds[target] - mean) ** 2) / variance / 2 - np.log(variance) / 2)
    return scores[0] - scores[1]


def attack(method: str, rows: Examples, validation: Examples, shadows: int, seed: int) -> dict[str, Any]:
    """Return AUC and true positives at 1 % false positives of both attacks: mean, and deviation over the targets."""
    began = time.perf_counter()
    log_odds, trained, auroc = shadow_models(method, rows, validation, shadows, seed)
    scores = {
        "loss": list(log_odds),
        "shadow": [likelihood_ratios(log_odds, trained, target) for target in range(shadows)],
    }
    result: dict[str, Any] = {"method": method, "auroc": round(auroc, 4)}
    for name, by_target in scores.items():
        pairs = list(zip(trained, by_target, strict=True))
        aucs = [float(roc_auc_score(*pair)) for pair in pairs]
        found = [float(np.interp(_FALSE_POSITIVES, *roc_curve(*pair)[:2])) for pair in pairs]
        result |= {f"{name}_auc": round(float(np.mean(aucs)), 4), f"{name}_sd": round(float(np.std(aucs)), 4)}
        result[f"{name}_found_at_1_percent"] = round(float(np.mean(found)), 4)
    return result | {"seconds": round(time.perf_counter() - began, 1)}


def attack_all(methods: list[str], job: int, users: int, shadows: int, seed: int) -> dict[str, Any]:
    """Attack every method on the rows of the training cut-offs of a job."""
    from bench.rows import dataset

    data = dataset(job)
    rows = replace(data.train, frame=pl.concat([part.frame for part in (data.train, data.validation)]))
    rows = Limits.fit(rows).clip(rows)
    keys = rows.frame["user_key"].unique().sort().sample(fraction=1, shuffle=True, seed=seed)[:users]
    held_out = keys[: int(len(keys) * _VALIDATION)]
    validation = replace(rows, frame=rows.frame.filter(pl.col("user_key").is_in(held_out.implode())))
    others = pl.col("user_key").is_in(keys[len(held_out) :].implode())
    rows = replace(rows, frame=rows.frame.filter(others))
    results = []
    for method in methods:
        results.append(attack(method, rows, validation, shadows, seed))
        print(results[-1], flush=True)
    return {"rows": len(rows), "users": len(keys) - len(held_out), "shadows": shadows, "results": results}


def predictor_of(settings: Settings, job: int) -> Predictor:
    """Return the model that a job trained."""
    from bench.rows import steps_of

    tuned = next(step.result for step in steps_of(job) if step.stage == "finetune")
    return load_predictor(settings, load_plugins(settings), Saved(tuned["folder"], tuned["sha256"]))


def loss_of(predictor: Predictor, rows: Examples) -> Any:
    """Return the loss of every row, with the features in the order of the model."""
    if predictor.features != rows.feature_names:
        values = pl.DataFrame(rows.features, schema=list(rows.feature_names))
        missing = pl.lit(None, pl.Float32)
        ordered = values.select(
            (pl.col(name) if name in rows.feature_names else missing).alias(name) for name in predictor.features
        )
        features = ordered.select(features=pl.concat_list(pl.all())).to_series()
        rows = replace(rows, frame=rows.frame.with_columns(features), feature_names=predictor.features)
    return losses(predictor.probabilities(rows), rows.targets)


def erasure(method: str, users: int, seed: int) -> dict[str, Any]:
    """Erase a third of the training users and return the AUC of attacks before and after, with 95 % intervals."""
    from bench.rows import dataset
    from segadmin.events.erase import forget
    from segadmin.events.keys import show_key

    with planted_home(users) as settings:
        job = retrain(settings, method, seed)
        data, first = dataset(job), predictor_of(settings, job)
        keys = data.train.frame["user_key"].unique().sort().sample(fraction=1, shuffle=True, seed=seed)
        erased = keys[: len(keys) // 3]
        is_erased = pl.col("user_key").is_in(erased.implode())
        groups = {
            "forgotten": replace(data.train, frame=data.train.frame.filter(is_erased)),
            "kept": replace(data.train, frame=data.train.frame.filter(~is_erased)),
            "never_seen": data.test,
        }
        before = {name: loss_of(first, rows) for name, rows in groups.items()}
        forget(settings, [show_key(key) for key in erased])
        second = predictor_of(settings, retrain(settings, method, seed))
        after = {name: loss_of(second, rows) for name, rows in groups.items()}

    def auc(name: str, loss: dict[str, Any]) -> dict[str, float | None]:
        """Attack the users of the group ``name`` among those never seen."""
        frames = groups[name].frame, groups["never_seen"].frame
        rows = matched_rows(*frames, seed)
        members, others = (frame["user_key"].to_numpy()[chosen] for frame, chosen in zip(frames, rows, strict=True))
        interval = attack_auc(loss[name][rows[0]], loss["never_seen"][rows[1]], members, others)
        return _rounded(interval)

    # The attacker who kept the first version: of a forgotten user it lost more than of one never seen.
    fallen = {name: before[name] - after[name] for name in groups}
    return {
        "method": method,
        "erased": len(erased),
        "never_seen": groups["never_seen"].frame["user_key"].n_unique(),
        "forgotten_before": auc("forgotten", before),
        "forgotten_after": auc("forgotten", after),
        "kept_after": auc("kept", after),
        "forgotten_by_both_versions": auc("forgotten", fallen),
    }


def _rounded(interval: Interval) -> dict[str, float | None]:
    bounds = {"auc": interval.value, "low": interval.low, "high": interval.high}
    return {name: None if value is None else round(value, 4) for name, value in bounds.items()}


def main() -> None:
    """Attack and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["attack", "erasure"])
    parser.add_argument("--job", type=int, help="of this home; default: of a planted shop")
    parser.add_argument("--backbones", default=";".join(METHODS), help="of METHODS, separated by semicolons")
    parser.add_argument("--shadows", type=int, default=8)
    parser.add_argument("--users", type=int, default=800)
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args()
    methods = given.backbones.split(";")
    result: dict[str, Any]
    if given.what == "erasure":
        result = {"results": []}
        for method in methods:
            result["results"].append(erasure(method, given.users, given.seed))
            print(result["results"][-1], flush=True)
    elif given.job is not None:
        result = attack_all(methods, given.job, given.users, given.shadows, given.seed)
    else:
        with planted_home(given.users * 2) as settings:
            job = retrain(settings, "tabular", given.seed)
            result = attack_all(methods, job, given.users, given.shadows, given.seed)
    print(json.dumps({"bench": "membership", "what": given.what, **result}))


if __name__ == "__main__":
    main()
