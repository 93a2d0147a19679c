"""What each tuner trains, and what that costs and brings: MiniLM on the same rows of a retrain that was run before.

Needs a home in which a retrain was run (``python -m bench.demo --keep HOME``, say); its split and its texts are read,
the test rows are its own. Every tuner learns from the same ``--rows`` training rows, drawn by chance, in a process of
its own, from the text alone. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.tuners [--job 1] [--rows 1500] [--epochs 2]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.rows import dataset

#: Tuner → the learning rate of pretrained weights; what is new learns twenty times as fast.
TUNERS = {"full": 1e-4, "head": 5e-4, "lora": 5e-5, "adalora": 5e-4, "ia3": 5e-4, "houlsby": 5e-5, "prefix": 2e-3}


def measure(tuner: str, job: int, rows: int, epochs: int) -> dict[str, Any]:
    """Fit once and measure; called in a process of its own."""
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.numbers import auroc

    rows_of_job = dataset(job)
    train = replace(rows_of_job.train, frame=rows_of_job.train.frame.sample(rows, seed=17, shuffle=True))
    rate = TUNERS[tuner]
    options = {"tuner": tuner, "epochs": epochs, "features": False, "learning_rate": rate, "frozen_layers": 0}
    backbone = load_plugins(get_settings()).make("backbone", "minilm", options)
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        model = backbone.fit(train, rows_of_job.validation, FitContext(get_settings(), Path(folder)))
        seconds = time.perf_counter() - before
    return {
        "tuner": tuner,
        "trained_weights": model.report["trained_weights"],
        "share": round(model.report["trained_weights"] / model.report["weights"], 4),
        "seconds": round(seconds, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "auroc": round(auroc(model.predict(rows_of_job.test), rows_of_job.test.targets), 4),
    }


def main() -> None:
    """Measure every tuner and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", choices=TUNERS, action="append", help="leave the others out")
    parser.add_argument("--measure", choices=TUNERS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.measure:
        print(json.dumps(measure(wanted.measure, wanted.job, wanted.rows, wanted.epochs)))
        return
    results = []
    for tuner in wanted.only or TUNERS:
        command = [sys.executable, "-m", "bench.tuners", "--measure", tuner, "--job", str(wanted.job)]
        command += ["--rows", str(wanted.rows), "--epochs", str(wanted.epochs)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(" · ".join(f"{name} {value}" for name, value in results[-1].items()), flush=True)
    print(json.dumps({"bench": "tuners", "rows": wanted.rows, "epochs": wanted.epochs, "tuners": results}))


if __name__ == "__main__":
    main()
