"""What text and numbers give together: their logits added up, one joint network, and either alone.

Needs a home that ``bench.homes future`` made; the texts of a job are read (``--job``), or made first. Every seed holds
out other households and starts from other weights; the test rows, of later cut-offs, stay the same. Each way of
learning has the same learning rates to choose from, by the log-loss on the households held out, never on test rows.

The text is read in one of two ways. ``--reader vectors``: by the pretrained MiniLM as it is, its last states averaged,
which takes a minute for all tasks together; a layer on top learns. ``--reader minilm`` (or another backbone) fine-tunes
it for every task and way, on ``--rows`` rows.

``champion`` is the weighted combination of ``tabular``, ``linear``, ``tfidf`` and one of the ways, or several
(``--champions sum,sum+encoded``), as in ``stacked``; ``leads`` compare it with the combination without them, with the
best baseline, and with the first of ``--champions``. Intervals are 95 % over households, of the mean over the
seeds. The last line is JSON.

    SEGADMIN_HOME=HOME python -m bench.fusion [--job 1] [--tasks spend3,pl3] [--seeds 17,18] [--rows 3000]
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from bench.cascade import TEXTS
from bench.labels import Rows
from bench.rows import dataset
from bench.scale import run_job

if TYPE_CHECKING:
    from numpy.typing import NDArray

TASKS = "spend3,growth3,lapse4,redeem,affin10,pl3"
#: Ways of learning: the text alone, the features alone with their own numbers or encoded ones, the sum of the logits
#: of the text and of either, and the joint network.
WAYS = ("text", "features", "encoded", "sum", "encoded sum", "joint")
BASELINES = ("tabular", "linear", "tfidf")
RATES = (1e-4, 5e-4)
EPOCHS, BATCH, PATIENCE = 20, 64, 8
HELD_OUT = 0.15


def parts_of(rows: Rows, task: str, seed: int, most: int) -> dict[str, Any]:
    """Return ``train``, ``validation`` and ``test`` of a task; ``seed`` draws who is held out, and ``most`` rows."""
    import polars as pl

    from segadmin.labels.split import draw

    parts = rows.of(task)
    known = pl.concat([parts["train"].frame, parts["validation"].frame]).sort("user_key", "as_of")
    held_out = draw(known["user_key"].to_numpy(), seed) < HELD_OUT
    chosen = {"train": known.filter(~held_out), "validation": known.filter(held_out)}
    chosen["train"] = chosen["train"].sample(min(most, len(chosen["train"])), seed=seed)
    return {name: replace(part, frame=chosen.get(name, part.frame)) for name, part in parts.items()}


class Vectors(nn.Module):
    """A layer on the vectors of texts, in place of a text model; a text is the number of its vector."""

    def __init__(self, vectors: torch.Tensor, outputs: int) -> None:
        super().__init__()
        self.vectors: torch.Tensor
        self.register_buffer("vectors", vectors, persistent=False)
        self.dropout, self.classifier = nn.Dropout(0.3), nn.Linear(vectors.shape[1], outputs)
        nn.init.normal_(self.classifier.weight, std=0.002)  # logits near zero: the features do not get worse

    def forward(self, input_ids: torch.Tensor, attention_mask: Any = None) -> Any:
        """Return the ``logits`` of texts ``(n_rows,)``."""
        return SimpleNamespace(logits=self.classifier(self.dropout(self.vectors[input_ids])))


def vectors_of(phrases: Any, max_tokens: int) -> NDArray[np.float32]:
    """Return the mean of MiniLM's last states, ``(n_rows, 384)``, of each text."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
    from segadmin_plugins.backbones.transformer.warm_start import start_from
    from segadmin_plugins.engines.packed_base import PackedBase
    from segadmin_plugins.engines.packing import Packing

    settings = get_settings()
    folder = load_plugins(settings).make("backbone", "minilm", {}).folder(settings)
    text, tokenizer = start_from(folder, ("a", "b"), settings=settings)
    ids = PhraseEncoder(tokenizer, max_tokens).encode(phrases).ids
    base, vectors = PackedBase(text.eval()), np.zeros((len(ids), text.config.hidden_size), np.float32)
    order = np.argsort(ids.lengths, kind="stable")[::-1]
    with torch.inference_mode():
        for chunk in np.array_split(order, max(1, len(ids.values) // 4096)):
            texts = ids.take(chunk)
            states = base.states(Packing.of(texts)).numpy()
            vectors[chunk] = np.add.reduceat(states, texts.offsets[:-1]) / texts.lengths[:, None]
    return vectors


class OnVectors:
    """Learns on the vectors of the texts, which are computed once and kept in the home."""

    def __init__(self, rows: Rows, job: int, max_tokens: int) -> None:
        import polars as pl

        from segadmin.settings import get_settings

        frame = pl.concat([getattr(rows.everything, part).frame for part in ("train", "validation", "test")])
        file = Path(get_settings().root) / f"vectors-{job}-{max_tokens}.npy"
        if not file.exists():
            np.save(file, vectors_of(frame["phrases"], max_tokens))
        vectors = np.load(file)
        self._vectors = torch.from_numpy((vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-6))
        self._numbers = frame.select("user_key", "as_of").with_row_index("number")

    def __call__(self, way: str, parts: dict[str, Any], seed: int) -> tuple[Any, Any, float]:
        """Return probabilities of validation and test rows, and the log-loss on validation, of the best rate."""
        return min((self._fit(way, parts, seed, rate) for rate in RATES), key=lambda fitted: fitted[2])

    def _fit(self, way: str, parts: dict[str, Any], seed: int, rate: float) -> tuple[Any, Any, float]:
        from segadmin_plugins.backbones.features.matrix import features_of
        from segadmin_plugins.backbones.features.scaling import Scaling

        torch.manual_seed(seed)
        train = parts["train"]
        scaling = Scaling.fit(train.feature_names, features_of(train, train.feature_names))
        segments = len(train.segments)
        head = head_of(way, scaling(features_of(train, scaling.names), math.nan), segments)
        text = Vectors(self._vectors, segments + (head.width if head is not None else 0))
        data = {name: self._data(part, scaling, head) for name, part in parts.items()}
        net = Net(text, head, way)
        net.pretrain(data["train"], data["validation"])
        loss = net.fit(data["train"], data["validation"], rate)
        return net.predict(data["validation"]), net.predict(data["test"]), loss

    def _data(self, rows: Any, scaling: Any, head: Any) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int64]]:
        """Return numbers of texts, features, and targets."""
        from segadmin_plugins.backbones.features.matrix import features_of

        texts = rows.frame.join(self._numbers, on=["user_key", "as_of"], how="left", maintain_order="left")["number"]
        scaled = scaling(features_of(rows, scaling.names), head.missing if head is not None else 0.0)
        return torch.from_numpy(texts.to_numpy().astype(np.int64)), torch.from_numpy(scaled), rows.targets


def head_of(way: str, known: NDArray[np.float32], segments: int) -> Any:
    """Return the head of a way of learning; ``known`` are the scaled features of the training rows."""
    from segadmin_plugins.backbones.features.piecewise_linear import quantile_edges
    from segadmin_plugins.backbones.transformer.head import FeatureHead
    from segadmin_plugins.backbones.transformer.joint_head import BINS, JointHead

    if way == "text":
        return None
    if way in ("features", "sum"):
        return FeatureHead(known.shape[1], segments)
    return JointHead(torch.from_numpy(quantile_edges(known, BINS)), segments)


class Net:
    """A text model and a head, and how they learn."""

    def __init__(self, text: Vectors, head: Any, way: str) -> None:
        from segadmin_plugins.backbones.transformer.head import UserModel

        self.model, self.way = UserModel(text, head), way
        if way == "encoded sum":  # the joint part stays at zero
            for weights in head.joint.parameters():
                weights.requires_grad_(False)

    def logits(self, texts: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of rows."""
        if self.way in ("features", "encoded"):
            logits: torch.Tensor = self.model.features(features)
        else:
            logits = self.model(texts, features)["logits"]
        return logits

    def pretrain(self, train: Any, validation: Any) -> None:
        """Fit the head of the features alone, as every fine-tuning begins."""
        from segadmin.contracts.backbone import FitContext
        from segadmin.ragged import Ragged
        from segadmin.settings import get_settings
        from segadmin_plugins.backbones.transformer.batches import UserDataset
        from segadmin_plugins.backbones.transformer.training import pretrain_head

        rows, held_out = (
            UserDataset(Ragged.from_rows([]), features.numpy(), targets) for _, features, targets in (train, validation)
        )
        for part in (rows, held_out):
            part.ids = Ragged.from_rows([np.zeros(1, np.int32)] * len(part.labels))
        pretrain_head(self.model, rows, held_out, FitContext(get_settings(), Path()), steps=500)

    def fit(self, train: Any, validation: Any, rate: float) -> float:
        """Learn, keep what was best on validation, and return its log-loss."""
        optimizer = torch.optim.AdamW(self._groups(rate))
        texts, features, targets = train[0], train[1], torch.from_numpy(train[2])
        best, best_loss, waited = copy.deepcopy(self.model.state_dict()), self.loss(validation), 0
        for _ in range(2 * EPOCHS):
            self.model.train()
            for batch in torch.randperm(len(targets))[: len(targets) // 2].split(BATCH):
                loss = nn.functional.cross_entropy(self.logits(texts[batch], features[batch]), targets[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            now, waited = self.loss(validation), waited + 1
            if now < best_loss:
                best, best_loss, waited = copy.deepcopy(self.model.state_dict()), now, 0
            if waited >= PATIENCE:
                break
        self.model.load_state_dict(best)
        return best_loss

    def _groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the weights with their rates, relative to each other as in fine-tuning."""
        from segadmin_plugins.backbones.transformer.trainer import FEATURES_SPEED, FUSING_DECAY, HEAD_DECAY, HEAD_SPEED

        head, speed = self.model.features, rate * FEATURES_SPEED / HEAD_SPEED
        groups = [{"params": [*self.model.text.parameters()], "lr": rate, "weight_decay": 0.01}]
        if head is not None:
            fusing = head.fusing()
            rest = [weights for weights in head.parameters() if all(weights is not other for other in fusing)]
            groups.append({"params": rest, "lr": speed, "weight_decay": HEAD_DECAY})
            groups.append({"params": fusing, "lr": speed, "weight_decay": FUSING_DECAY})
        return groups

    def loss(self, rows: Any) -> float:
        """Return the log-loss."""
        return log_loss(self.predict(rows), rows[2])

    def predict(self, rows: Any) -> NDArray[np.float32]:
        """Return probabilities."""
        self.model.eval()
        with torch.inference_mode():
            probabilities: NDArray[np.float32] = self.logits(rows[0], rows[1]).softmax(dim=1).numpy()
        return probabilities


def log_loss(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the mean log-loss."""
    from segadmin.evaluation.metrics import log_loss as of

    return float(of(probabilities, targets))


def fine_tuned(backbone: str, options: dict[str, str]) -> Callable[..., tuple[Any, Any, float]]:
    """Return what fine-tunes ``backbone`` in one of the ways ``text``, ``sum`` and ``joint``."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import get_settings

    def fit(way: str, parts: dict[str, Any], seed: int) -> tuple[Any, Any, float]:
        own = {"features": "false"} if way == "text" else {"fusion": way}
        model = load_plugins(get_settings()).make("backbone", backbone, options | own)
        return fitted(model, parts, seed)

    return fit


def fitted(backbone: Any, parts: dict[str, Any], seed: int) -> tuple[Any, Any, float]:
    """Return probabilities of validation and test rows, and the log-loss on validation, of a backbone."""
    from segadmin.contracts.backbone import FitContext
    from segadmin.settings import get_settings

    with tempfile.TemporaryDirectory() as folder:
        model = backbone.fit(parts["train"], parts["validation"], FitContext(get_settings(), Path(folder), seed))
    held_out, test = (model.predict(parts[name]) for name in ("validation", "test"))
    return held_out, test, log_loss(held_out, parts["validation"].targets)


def measured(rows: Rows, learn: Callable[..., Any], task: str, wanted: argparse.Namespace) -> dict[str, Any]:
    """Learn ``task`` in every way and with every seed, and compare."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.bootstrap import Interval, auroc_draws
    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.pooled import pool, weigh

    draws: dict[str, list[Any]] = defaultdict(list)
    losses: dict[str, list[float]] = defaultdict(list)
    ways = wanted.ways.split(",")
    champions = wanted.champions.split(",") if wanted.champions else ways
    for seed in map(int, wanted.seeds.split(",")):
        parts = parts_of(rows, task, seed, wanted.rows)
        results = {}
        for way in ways:
            results[way] = learn(way, parts, seed)
            print(f"  {task}, seed {seed}, {way}: validation log-loss {results[way][2]:.4f}", flush=True)
        for name in BASELINES if wanted.champion else ():
            results[name] = fitted(load_plugins(get_settings()).make("backbone", name, {}), parts, seed)
        targets, users = parts["test"].targets, parts["test"].frame["user_key"].to_numpy()
        predictions = {name: result[1] for name, result in results.items()}
        for added in ("", *champions) if wanted.champion else ():
            members = {name: results[name] for name in (*BASELINES, *filter(None, added.split("+")))}
            weights = weigh({name: result[0] for name, result in members.items()}, parts["validation"])
            predictions[f"champion {added}".strip()] = pool({n: r[1] for n, r in members.items()}, weights)
        for name, result in results.items():
            losses[name].append(result[2])
        for name, probabilities in predictions.items():
            draws[name].append(auroc_draws(probabilities.astype(float), targets, users))
        print(f"  {task}, seed {seed}:", *(f"{name} {draws[name][-1][0]:.4f}" for name in draws), flush=True)
    mean = {name: np.mean(each, axis=0) for name, each in draws.items()}

    def lead(first: str, other: str) -> str:
        apart = mean[first] - mean[other]
        return str(Interval.of(float(apart[0]), apart[1:]))

    pairs = [("joint", other) for other in ways if other != "joint"] if "joint" in ways else []
    if wanted.champion:
        best = max(BASELINES, key=lambda name: mean[name][0])
        pairs += [(f"champion {added}", other) for added in champions for other in ("champion", best)]
        pairs += [(f"champion {added}", f"champion {champions[0]}") for added in champions[1:]]
    return {
        "rows": {name: len(part) for name, part in parts.items()},
        "auroc": {name: spread([float(draw[0]) for draw in each]) for name, each in draws.items()},
        "validation_log_loss": {name: spread(values) for name, values in losses.items()},
        "leads": {f"{first} over {other}": lead(first, other) for first, other in pairs},
    }


def spread(values: list[float]) -> list[float]:
    """Return mean and standard deviation."""
    return [round(statistics.mean(values), 4), round(statistics.stdev(values) if len(values) > 1 else 0.0, 4)]


def main() -> None:
    """Measure every task, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", type=int, help="a retrain whose texts are used; default: they are made first")
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--seeds", default="17,18,19")
    parser.add_argument("--rows", type=int, default=100_000, help="most training rows")
    parser.add_argument("--reader", default="vectors", help="vectors, or a backbone such as minilm")
    parser.add_argument("--ways", default=",".join(WAYS), help="a backbone knows text, sum and joint")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--champion", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--champions", default="", help="what joins it, such as sum,sum+encoded; default: each way")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the backbone")
    wanted = parser.parse_args()
    from segadmin.settings import get_settings

    job = wanted.job or run_job(get_settings(), "retrain", TEXTS | {"trackers": [], "language": "en"})
    rows = Rows(dataset(job))
    options = dict(option.split("=", 1) for option in wanted.option) | {"max_tokens": str(wanted.max_tokens)}
    learn: Callable[..., Any] = fine_tuned(wanted.reader, options)
    if wanted.reader == "vectors":
        learn = OnVectors(rows, job, wanted.max_tokens)
    tasks = {}
    for task in wanted.tasks.split(","):
        tasks[task] = measured(rows, learn, task, wanted)
        for name, value in tasks[task].items():
            for key, each in value.items():
                print(f"{task:<8} {name:<20} {key:<36} {each}", flush=True)
    facts = {"reader": wanted.reader, "options": options, "seeds": wanted.seeds, "rows": wanted.rows}
    print(json.dumps({"bench": "fusion", **facts, "tasks": tasks}))


if __name__ == "__main__":
    main()
