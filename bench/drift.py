"""How far drift reports can be trusted: false alarms, power, and quality that is estimated without labels.

``alarms``: simulations in which nothing drifts, with 20 features of several shapes: the share of them in which anything
is reported, at several numbers of users and of bins. Of segadmin the tests alone, too, without the effect size below
which nothing is reported. ``power``: one of the 20 features is changed; the share of simulations that find it, and that
report another one. Beside it the defaults of Evidently on the same values (``peer`` says whether Evidently itself ran):
up to 1,000 reference values Kolmogorov and Smirnov's test or a chi-squared test at p < 0.05, above it the normed
Wasserstein distance or that of Jensen and Shannon from 0.1 on, of each column by itself; and a population stability
index from 0.1 on, as often recommended; and Kolmogorov and Smirnov's test on all values at 1 % for the 20 columns
together (Bonferroni), which has segadmin's false-alarm rate.

``quality``: in a home of ``bench.homes future`` a model per task is fitted on the cut-offs of weeks 16 and 24 and
calibrated on week 32, whose outcomes are known in week 40; then its metrics on weeks 40 and 44 are estimated, and
compared with those that were measured eight weeks later. Last line: JSON.

    python -m bench.drift alarms|power [--users 1000] [--bins 10] [--simulations 2000] [--seed 17]
    SEGADMIN_HOME=HOME python -m bench.drift quality [--tasks spend3,lapse4] [--backbone tabular] [--job 1]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from segadmin.monitoring.drift import Rule, find_drift
from segadmin.monitoring.histogram import Histogram, quantile_bins
from segadmin.monitoring.profile import CALIBRATION_USERS

FEATURES = 20
PEER_USERS = 1000  #: up to so many reference values Evidently tests; above it uses distances
Draw = Callable[[np.random.Generator, int], Any]

#: Shapes that features of users have; the features take turns.
SHAPES: tuple[Draw, ...] = (
    lambda random, n: random.normal(size=n),
    lambda random, n: random.lognormal(3.0, 1.0, n),
    lambda random, n: random.poisson(2.0, n).astype(float),
    lambda random, n: random.gamma(2.0, 1.0, n) * (random.random(n) < 0.4),  # most spend nothing
    lambda random, n: np.where(random.random(n) < 0.3, np.nan, random.uniform(1, 5, n)),  # some have no rating
)
#: What is planted, in the first feature, which is normal: by how many deviations it moves, or how much it spreads.
PLANTED: dict[str, Draw] = {
    "nothing": SHAPES[0],
    "mean + 0.1 sd": lambda random, n: random.normal(0.1, 1.0, n),
    "mean + 0.2 sd": lambda random, n: random.normal(0.2, 1.0, n),
    "mean + 0.5 sd": lambda random, n: random.normal(0.5, 1.0, n),
    "sd × 1.3": lambda random, n: random.normal(0.0, 1.3, n),
    "10 % become 0": lambda random, n: random.normal(size=n) * (random.random(n) >= 0.1),
}


def shape(feature: int) -> Draw:
    """Return how the values of a feature are drawn."""
    return SHAPES[feature % len(SHAPES)]


def shares_of_bins(feature: int, bins: Histogram, known: np.ndarray[Any, Any]) -> Any:
    """Return the probability of each bin, by ``known``: many sorted draws of each shape, missing ones left out."""
    below = np.searchsorted(known[feature % len(SHAPES)], np.asarray(bins.edges), side="right")
    finite = len(known[feature % len(SHAPES)])
    shares = np.diff(np.concatenate([[0], below, [finite]])) / finite
    missing = 0.3 if feature % len(SHAPES) == 4 else 0.0
    return np.append(shares * (1 - missing), missing)


def alarms(users: int, bins: int, simulations: int, seed: int) -> dict[str, Any]:
    """Return the share of simulations without drift in which drift is reported.

    Both groups are counted directly, as multinomial counts in the bins; the bins come from users that are drawn.
    """
    random, began = np.random.default_rng(seed), time.perf_counter()
    known = [np.sort(draw(random, 2_000_000)) for draw in SHAPES]
    known = [values[np.isfinite(values)] for values in known]
    calibration = min(users // 4, CALIBRATION_USERS)
    counts: Counter[str] = Counter()
    for _ in range(simulations):
        profiles: list[dict[str, Histogram]] = [{}, {}]
        for feature in range(FEATURES):
            where = quantile_bins(shape(feature)(random, calibration), bins)
            shares = shares_of_bins(feature, where, known)
            for profile in profiles:
                counts = random.multinomial(users - calibration, shares)
                profile[f"f{feature}"] = where.model_copy(update={"counts": tuple(counts.tolist())})
        findings = find_drift(profiles[0], profiles[1], Rule(least=0.0))
        counts["tests"] += any(finding.drifted for finding in findings)
        counts["reported"] += any(finding.drifted and finding.stability_index >= Rule().least for finding in findings)
        counts["psi 0.1"] += any(_plain_index(*profiles, name) >= 0.1 for name in profiles[0])
        counts["psi 0.25"] += any(_plain_index(*profiles, name) >= 0.25 for name in profiles[0])
    return {
        "users": users,
        "bins": bins,
        "simulations": simulations,
        "tests": counts["tests"] / simulations,
        "tests_95": interval(counts["tests"], simulations),
        "reported": counts["reported"] / simulations,
        "psi_0.1": counts["psi 0.1"] / simulations,
        "psi_0.25": counts["psi 0.25"] / simulations,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _plain_index(reference: dict[str, Histogram], current: dict[str, Histogram], name: str) -> float:
    """Return the population stability index as usually computed: empty bins count as 0.0001."""
    first, second = (
        np.maximum(np.asarray(profile[name].counts) / profile[name].users, 1e-4) for profile in (reference, current)
    )
    return float(((first - second) * np.log(first / second)).sum())


def interval(count: int, simulations: int) -> list[float]:
    """Return the 95 % interval of a share (Clopper and Pearson)."""
    from scipy.stats import binomtest

    bounds = binomtest(count, simulations).proportion_ci()
    return [round(bounds.low, 4), round(bounds.high, 4)]


def evidently_default(reference: Any, current: Any) -> bool:
    """Return whether one numeric column drifts by Evidently's default rule."""
    from scipy.stats import ks_2samp, wasserstein_distance

    first, second = (values[np.isfinite(values)] for values in (reference, current))
    if len(reference) <= PEER_USERS:
        return bool(ks_2samp(first, second).pvalue < 0.05)
    return bool(wasserstein_distance(first, second) / max(float(np.std(first)), 0.001) >= 0.1)


def _ks(reference: Any, current: Any) -> float:
    """Return the p-value of Kolmogorov and Smirnov's test."""
    from scipy.stats import ks_2samp

    known = (values[np.isfinite(values)] for values in (reference, current))
    return float(ks_2samp(*known, method="asymp").pvalue)


def with_evidently(reference: Any, current: Any) -> set[int]:
    """Return the columns that drift according to Evidently."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    frames = [pd.DataFrame(values.T, columns=[str(n) for n in range(FEATURES)]) for values in (current, reference)]
    metrics = Report([DataDriftPreset()]).run(*frames).dict()["metrics"]
    drifting = set()
    for metric in metrics:
        if metric["config"]["type"].endswith("ValueDrift"):
            value, by_p = metric["value"], "p_value" in metric["config"]["method"]
            threshold = metric["config"]["threshold"]
            drifting |= {int(metric["config"]["column"])} if (value < threshold) == by_p else set()
    return drifting


def peer(reference: Any, current: Any) -> set[int]:
    """Return the columns that drift by Evidently's defaults, by Evidently itself if it is installed."""
    if find_spec("evidently") is not None:
        return with_evidently(reference, current)
    return {n for n in range(FEATURES) if evidently_default(reference[n], current[n])}


def power(users: int, bins: int, simulations: int, seed: int) -> dict[str, Any]:
    """Return how often planted drift is found, and how often something else is reported."""
    random = np.random.default_rng(seed)
    calibration = min(users // 4, CALIBRATION_USERS)
    rows = {}
    for name, draw in PLANTED.items():
        hits: Counter[str] = Counter()
        for _ in range(simulations):
            reference, current = (
                np.stack([shape(feature)(random, users) for feature in range(FEATURES)]) for _ in range(2)
            )
            current[0] = draw(random, users)
            profiles: list[dict[str, Histogram]] = [{}, {}]
            for feature in range(FEATURES):
                where = quantile_bins(reference[feature, :calibration], bins)
                for profile, values in zip(profiles, (reference, current), strict=True):
                    profile[str(feature)] = where.of_numbers(values[feature, calibration:])
            reported = {
                "segadmin": {int(finding.name) for finding in find_drift(*profiles) if finding.drifted},
                "evidently": peer(reference, current),
                "psi 0.1": {n for n in range(FEATURES) if _plain_index(*profiles, str(n)) >= 0.1},
                "ks": {n for n in range(FEATURES) if _ks(reference[n], current[n]) <= Rule().alpha / FEATURES},
            }
            for method, columns in reported.items():
                hits[f"{method} finds"] += 0 in columns
                hits[f"{method} others"] += bool(columns - {0})
        rows[name] = {key: round(count / simulations, 4) for key, count in sorted(hits.items())}
    return {"users": users, "bins": bins, "simulations": simulations, "planted": rows}


def quality(task: str, rows: Any, backbone: str, seed: int) -> dict[str, Any]:
    """Return the metrics of later weeks as estimated before and as measured after, of one task."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.calibration import fit_temperature, predict
    from segadmin.evaluation.metrics import measure
    from segadmin.monitoring.estimate import estimate_performance
    from segadmin.monitoring.reports import METRICS
    from segadmin.settings import get_settings

    settings, parts = get_settings(), rows.of(task)
    cutoffs = sorted({moment for part in parts.values() for moment in part.frame["as_of"].unique()})
    train, held_out = (_at(cutoffs[:2], parts[name]) for name in ("train", "validation"))
    known = _at(cutoffs[2:3], parts["train"], parts["validation"])
    with TemporaryDirectory() as folder:
        model = (
            load_plugins(settings)
            .make("backbone", backbone, {})
            .fit(train, held_out, FitContext(settings, Path(folder), seed))
        )
        temperature = fit_temperature(predict(model, held_out), held_out.targets)
        reference = predict(model, known, temperature)
        before = measure(reference, known.targets, known.segments)
        weeks = {}
        for week, cutoff in zip((40, 44), cutoffs[3:], strict=True):
            later = _at([cutoff], parts["test"])
            probabilities = predict(model, later, temperature)
            users = known.frame["user_key"].to_numpy()
            estimate = estimate_performance((reference, known.targets, users), probabilities, known.segments)
            assert estimate is not None
            truth = measure(probabilities, later.targets, later.segments)
            weeks[week] = {
                metric: {
                    "estimated": round(expected.value, 4),
                    "interval": [round(expected.low, 4), round(expected.high, 4)],
                    "measured": round(truth[metric], 4),
                    "difference": round(expected.value - truth[metric], 4),
                    "of_week_32": round(before[metric], 4),
                }
                for metric, expected in estimate.metrics.items()
                if metric in METRICS
            }
    return {"task": task, "backbone": backbone, "households": len(known), "weeks": weeks}


def _at(cutoffs: list[Any], *parts: Any) -> Any:
    """Return the rows of ``parts`` at some cut-offs."""
    import polars as pl

    frame = pl.concat([part.frame.select(parts[0].frame.columns) for part in parts])
    return replace(parts[0], frame=frame.filter(pl.col("as_of").is_in(cutoffs)))


def all_quality(tasks: list[str], backbone: str, job: int | None, seed: int) -> list[dict[str, Any]]:
    """Return the estimated and measured metrics of every task."""
    from bench.cascade import rows_of_all
    from bench.labels import Rows
    from bench.rows import dataset

    rows = rows_of_all() if job is None else Rows(dataset(job))
    done = []
    for task in tasks:
        done.append(quality(task, rows, backbone, seed))
        print(json.dumps(done[-1]), flush=True)
    return done


def main() -> None:
    """Simulate or roll forward, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("alarms", "power", "quality"))
    parser.add_argument("--users", default="100,1000,100000,1000000")
    parser.add_argument("--bins", default="5,10,20")
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--tasks", default="spend3,growth3,lapse4,redeem,affin10,pl3")
    parser.add_argument("--backbone", default="tabular")
    parser.add_argument("--job", type=int, help="a retrain of the home, whose texts are used again")
    wanted = parser.parse_args()
    if wanted.what == "quality":
        done = all_quality(wanted.tasks.split(","), wanted.backbone, wanted.job, wanted.seed)
        near = {
            week: sum(abs(each["weeks"][week]["auroc"]["difference"]) <= 0.02 for each in done) for week in (40, 44)
        }
        print(json.dumps({"bench": "drift", "what": "quality", "auroc_within_0.02": near, "tasks": done}))
        return
    installed = find_spec("evidently") is not None
    used = "evidently" if installed else "the documented default rule of Evidently, which is not installed"
    rows = []
    for users in map(int, wanted.users.split(",")):
        for bins in map(int, wanted.bins.split(",")):
            run = alarms if wanted.what == "alarms" else power
            rows.append(run(users, bins, wanted.simulations, wanted.seed))
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    print(json.dumps({"bench": "drift", "what": wanted.what, "peer": used, "rows": rows}, ensure_ascii=False))


if __name__ == "__main__":
    main()
