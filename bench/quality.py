"""How good the segments are on Complete Journey, over several seeds: the model beside its baselines.

Needs a home in which the demo ran (``python -m bench.demo --keep HOME``), with its workers up. Every seed draws
other held-out households, other initial weights and another order of the rows. Nothing is chosen on the test
cut-offs. ``SEGADMIN_HOME=HOME python -m bench.quality --versions 1 --seeds 18,19`` trains with two more seeds and
counts in the version that the demo made. Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from typing import Any

_METRICS = ("auroc", "macro_f1", "accuracy", "log_loss", "ece")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="18,19", help="train with these")
    parser.add_argument("--versions", default="", help="model versions to count in")
    parser.add_argument("--backbone", default="minilm")
    wanted = parser.parse_args()
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    versions = [one for one in wanted.versions.split(",") if one]
    versions += [train(wanted.backbone, seed) for seed in wanted.seeds.split(",") if seed]
    for version in versions:
        for one in call("models", "show", version, "--json")["evaluations"]:
            for metric in _METRICS:
                found[one["split"], one["name"]][metric].append(one["metrics"][metric])
    print(f"{'split':<20} {'model':<10} " + " ".join(f"{metric:>16}" for metric in _METRICS))
    for (split, name), metrics in sorted(found.items()):
        print(f"{split:<20} {name:<10} " + " ".join(f"{spread(metrics[metric]):>16}" for metric in _METRICS))
    print(
        json.dumps(
            {
                "bench": "quality",
                "versions": versions,
                **{
                    f"{split}/{name}": {metric: round(statistics.mean(values), 4) for metric, values in metrics.items()}
                    for (split, name), metrics in found.items()
                },
            }
        )
    )


def train(backbone: str, seed: str) -> str:
    """Train with ``seed`` and return the number of the model version."""
    job = call("enqueue", "retrain", "--backbone", backbone, "--seed", seed, "--json", "--wait")["job"]
    steps = {step["stage"]: step["result"] for step in call("jobs", "show", str(job), "--json")["steps"]}
    return str(steps["evaluate"]["model_version_id"])


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def call(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "segadmin_api.cli", *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
