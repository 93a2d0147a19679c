"""What a language model of one shop gains another: few labels, with and without a start from the imported version.

Half of the households of Complete Journey are shop A, the other half shop B, in which every word of departments,
categories and products has another, made-up name. In A a model is pretrained and then tuned on all labels of a task;
both versions move to B as signed files. In B the same fit on 64 labelled households starts from nothing, from the
pretrained version, and from the tuned one. What is in the ``--work`` folder is not computed again.
Intervals are 95 % over B's test households, of the mean over the draws of labelled households. Last line: JSON.

    python -m bench.transfer --work FOLDER [--tasks spend3,affin10] [--size 64] [--seeds 17,18,19,20,21]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlmodel import col, select

from bench.homes import TASKS
from bench.labels import TINY, Rows, drawn
from segadmin.contracts.backbone import FitContext
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import DataError
from segadmin.evaluation.bootstrap import Interval, auroc_draws
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.jobs.run import run_step
from segadmin.labels.labeling import label
from segadmin.models.export import export_file
from segadmin.models.importing import import_version
from segadmin.models.signature import Signer
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import ModelVersion
from segadmin_plugins.sources import completejourney

#: Ways to fit: backbone, its options, and whether it starts from a version of shop A.
METHODS: dict[str, tuple[str, dict[str, Any], str]] = {
    "from nothing": ("tiny", TINY, ""),
    "from A, pretrained": ("tiny", TINY, "pretrained"),
    "from A, tuned": ("tiny", TINY, "tuned"),
    "from A, tuned, features anew": ("tiny", TINY, "tuned"),
    "from nothing, text alone": ("tiny", TINY | {"features": False}, ""),
    "from A, tuned, text alone": ("tiny", TINY | {"features": False}, "tuned"),
    "linear": ("linear", {}, ""),
    "tabular": ("tabular", {"min_users": 5}, ""),
}
_SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]


def renamed(names: pl.Expr) -> pl.Expr:
    """Return names whose every word is another, always the same one."""

    def word(original: str) -> str:
        digest = hashlib.sha256(original.casefold().encode()).digest()
        return "".join(_SYLLABLES[byte % len(_SYLLABLES)] for byte in digest[:4])

    def name(original: str) -> str:
        return " ".join(word(each) if each.isalpha() else each for each in original.replace("/", " / ").split())

    return names.map_batches(
        lambda column: column.replace_strict({each: name(each) for each in column.drop_nulls().unique()}, default=None),
        return_dtype=pl.String,
    )


def import_half(settings: Settings, half: int) -> None:
    """Import the households of a half, chosen by a hash, and the products, renamed in the second half; label them."""
    lines = completejourney.transactions().with_columns(pl.col("household_id").cast(pl.String)).collect()
    households = lines["household_id"].unique()
    mine = [name for name in households if hashlib.sha256(name.encode()).digest()[0] % 2 == half]
    products = pl.read_parquet(completejourney.folder() / "products.parquet")
    if half:
        products = products.with_columns(renamed(pl.col("product_type", "product_category", "department")))
    with tempfile.TemporaryDirectory() as folder:
        items, events = Path(folder) / "items.parquet", Path(folder) / "events.parquet"
        products.write_parquet(items)
        lines.filter(pl.col("household_id").is_in(mine)).write_parquet(events)
        import_file(settings, ImportRequest("items", str(items), completejourney.ITEMS))
        import_file(settings, ImportRequest("events", str(events), completejourney.EVENTS))
    for task, (labeler, options) in TASKS.items():
        label(settings, task, labeler, {"first_week": completejourney.WEEK_ONE, **options})


def run_job(settings: Settings, kind: str, **options: Any) -> int:
    """Run a job in this process, as a worker would, and return the number of the newest model version."""
    todo: list[int] = []

    def dispatch(messages: Sequence[StepMessage]) -> None:
        todo.extend(message.step_id for message in messages)

    started = time.monotonic()
    enqueue(settings, dispatch, kind, check_request(settings, kind, options))
    while todo:
        run_step(settings, dispatch, todo.pop(), "bench")
    with transaction(settings) as session:
        newest = session.exec(select(ModelVersion.id).order_by(col(ModelVersion.id).desc())).first()
    print(f"{kind} {options.get('labels', '')}: {time.monotonic() - started:.0f} s", flush=True)
    return newest or 0


def main() -> None:
    """Make both shops, move the versions, and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tasks", default="spend3,affin10")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seeds", default="17,18,19,20,21")
    wanted = parser.parse_args()
    tasks, seeds = wanted.tasks.split(","), [int(seed) for seed in wanted.seeds.split(",")]
    there, here = (Settings(home=wanted.work / name) for name in ("A", "B"))
    kept = _Kept(wanted.work / "kept.json")
    files = kept.once("A", lambda: _shop_a(there, wanted.work, tasks))
    imported = kept.once("B", lambda: _shop_b(here, files, tasks))
    os.environ["SEGADMIN_HOME"] = str(here.home)
    get_settings.cache_clear()
    rows = Rows(1)
    results: dict[str, Any] = {}
    for task in tasks:
        parts = rows.of(task)
        draws: dict[str, list[Any]] = {name: [] for name in METHODS}
        for seed in seeds:
            few, held_out = drawn(parts, wanted.size, seed)
            for method in METHODS:
                key = f"{task}/{wanted.size}/{seed}/{method}"
                file = wanted.work / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
                if not file.exists():
                    np.save(file, _fit(here, method, seed, (few, held_out, parts["test"]), imported[task]))
                users, targets = (parts["test"].frame[name].to_numpy() for name in ("user_key", "target"))
                draws[method].append(auroc_draws(np.load(file), targets, users))
            line = (f"{name} {each[-1][0]:.3f}" for name, each in draws.items())
            print(f"{task}, seed {seed}:", " · ".join(line), flush=True)
        results[task] = _summary(draws)
    print(json.dumps({"bench": "transfer", "size": wanted.size, "seeds": seeds, "match": imported, "tasks": results}))


class _Kept:
    """What was computed before, in a JSON file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._values = path, json.loads(path.read_text()) if path.exists() else {}

    def once(self, name: str, compute: Any) -> Any:
        if name not in self._values:
            self._values[name] = compute()
            self._path.write_text(json.dumps(self._values))
        return self._values[name]


def _shop_a(there: Settings, work: Path, tasks: Sequence[str]) -> dict[str, str]:
    """Pretrain and tune in shop A, and return the exported files."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = Signer(Ed25519PrivateKey.generate())
    import_half(there, 0)
    pretrained = run_job(there, "pretrain", backbone="tiny", backbone_options={"epochs": 6}, windows=3)
    versions = {"pretrained": pretrained}
    for task in tasks:
        options = {"labels": task, "baselines": ["linear"], "margin": 1, "start_from": str(pretrained)}
        versions[task] = run_job(there, "retrain", **options)
    files = {"key": signer.public}
    for name, number in versions.items():
        with transaction(there) as session:
            version = session.get_one(ModelVersion, number)
        path = work / f"{name}.segmodel"
        path.unlink(missing_ok=True)
        size = export_file(there, version, path, signer)
        print(f"{path.name}: {size / 2**20:.1f} MiB", flush=True)
        files[name] = str(path)
    return files


def _shop_b(here: Settings, files: dict[str, str], tasks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Import into shop B, and return by task the folders to start from and what does not match."""
    import_half(here, 1)
    run_job(here, "retrain", labels=tasks[0], backbone="linear", baselines=["linear"], margin=1)
    key = [files["key"]]
    pretrained = import_version(here, Path(files["pretrained"]), trusted=key)
    imported = {}
    for task in tasks:
        tuned = import_version(here, Path(files[task]), task, trusted=key)
        for line in tuned.match.lines:
            print(f"  {line}", flush=True)
        imported[task] = {
            "pretrained": pretrained.version.folder,
            "tuned": tuned.version.folder,
            "features": tuned.match.features,
            "missing": len(tuned.match.missing_features),
            "words_in_pieces": round(tuned.match.vocabulary.split, 3) if tuned.match.vocabulary else None,
        }
    return imported


def _fit(here: Settings, method: str, seed: int, parts: tuple[Any, Any, Any], imported: dict[str, Any]) -> Any:
    """Return the probabilities of the test rows, ``(n_rows, n_segments)``."""
    name, options, start = METHODS[method]
    few, held_out, test = parts
    folder = here.store_path / imported[start] if start else None
    backbone = load_plugins(here).make("backbone", name, options)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoints = Path(temporary) / "checkpoints"
        checkpoints.mkdir()
        if folder is not None and method.endswith("features anew"):
            without = shutil.ignore_patterns("head.safetensors")
            folder = Path(shutil.copytree(folder, Path(temporary) / "version", ignore=without))
        run = FitContext(here, checkpoints, seed, start=folder)
        try:
            return backbone.fit(few, held_out, run).predict(test)
        except DataError:  # all are in one segment, so there is nothing to tell apart
            return np.full((len(test), len(test.segments)), 1 / len(test.segments), np.float32)


def _summary(draws: dict[str, list[Any]]) -> dict[str, Any]:
    """Return mean and deviation of each way over the draws, and the gains over the same fit from nothing."""
    models = {
        name: [round(statistics.mean(each[0] for each in by_seed), 4), round(_deviation(by_seed), 4)]
        for name, by_seed in draws.items()
    }
    gains = {}
    for name, by_seed in draws.items():
        if not name.startswith("from A"):
            continue
        base = draws["from nothing, text alone" if "text alone" in name else "from nothing"]
        apart = np.mean(by_seed, axis=0) - np.mean(base, axis=0)
        each = [round(float(one[0] - other[0]), 4) for one, other in zip(by_seed, base, strict=True)]
        gains[name] = {"gain": str(Interval.of(float(apart[0]), apart[1:])), "by_draw": each}
        print(f"  {name}: {gains[name]['gain']}; by draw {each}", flush=True)
    return {"models": models, "gains": gains}


def _deviation(by_seed: list[Any]) -> float:
    values = [float(each[0]) for each in by_seed]
    return statistics.stdev(values) if len(values) > 1 else 0.0


if __name__ == "__main__":
    main()
