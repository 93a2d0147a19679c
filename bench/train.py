"""How fast a language model is fine-tuned, and whether it learns the same, beside transformers' Trainer.

segadmin on packed texts with frozen layers computed once; transformers' Trainer with its defaults on the same weights,
rows and number of epochs, in float32 and in bfloat16: texts padded to the longest of a batch, in random order. In turn,
each in a process of its own; the median of the runs. The segment of a user is the most frequent of three groups of
phrases, so that there is something to learn. Last line: JSON.

    python -m bench.train [--rows 600] [--phrases 12] [--epochs 2] [--seeds 17 18 19]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.synthetic_texts import users as synthetic_users

SEGMENTS = ("low", "mid", "high")
#: Held-out users for each of the training users, as in a split by user.
HELD_OUT = 0.2


def labelled(rows: int, phrases: int, seed: int) -> Any:
    """Return users with the segment that their phrases mostly speak of."""
    from segadmin.contracts.backbone import Examples

    frame = synthetic_users(rows, phrases, seed)
    group = pl.col("phrases").list.eval(pl.element().str.contains("milk|bread|coffee|apples"))
    share = frame.select(group.list.mean())["phrases"].to_numpy()
    noisy = share + np.random.default_rng(seed).normal(0, 0.03, rows)
    target = pl.Series("target", np.searchsorted(np.quantile(noisy, [1 / 3, 2 / 3]), noisy))
    return Examples(frame.with_columns(target), SEGMENTS, ())


def fit_segadmin(train: Any, held_out: Any, seed: int, epochs: int) -> dict[str, Any]:
    """Fit segadmin's MiniLM and measure it."""
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.metrics import log_loss
    from segadmin.settings import get_settings

    backbone = load_plugins(get_settings()).make("backbone", "minilm", {"epochs": epochs, "patience": 99})
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        model = backbone.fit(train, held_out, FitContext(get_settings(), Path(folder), seed))
        seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "training": model.report["seconds"],
        "log_loss": log_loss(model.predict(held_out), held_out.targets),
    }


def fit_trainer(train: Any, held_out: Any, seed: int, epochs: int, *, bf16: bool) -> dict[str, Any]:
    """Fit the same weights with transformers' Trainer and its defaults."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.metrics import log_loss
    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.numbers import softmax
    from segadmin_plugins.backbones.transformer.head import freeze_below

    set_seed(seed)
    options = load_plugins(get_settings()).make("backbone", "minilm")
    began = time.perf_counter()
    source = options.folder(get_settings())
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=len(SEGMENTS), dtype=torch.float32)
    freeze_below(model, options.frozen_layers)
    tokenizer = AutoTokenizer.from_pretrained(source)

    def rows(examples: Any) -> list[dict[str, Any]]:
        texts = [" ".join(phrases) for phrases in examples.frame["phrases"].to_list()]
        ids = tokenizer(texts, truncation=True, max_length=options.max_tokens)["input_ids"]
        return [
            {"input_ids": each, "labels": label} for each, label in zip(ids, examples.targets.tolist(), strict=True)
        ]

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            eval_strategy="epoch",
            save_strategy="epoch",
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
            report_to=[],
            disable_tqdm=True,
            seed=seed,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows(train),
            eval_dataset=rows(held_out),
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        training = time.perf_counter()
        trainer.train()
        training = time.perf_counter() - training
        logits = trainer.predict(rows(held_out)).predictions
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "training": training, "log_loss": log_loss(softmax(logits), held_out.targets)}


def measure(name: str, rows: int, phrases: int, epochs: int, seed: int) -> dict[str, Any]:
    """Fit once; called in a process of its own."""
    train, held_out = labelled(rows, phrases, seed), labelled(int(HELD_OUT * rows), phrases, seed + 1000)
    if name == "segadmin":
        return fit_segadmin(train, held_out, seed, epochs)
    return fit_trainer(train, held_out, seed, epochs, bf16=name == "Trainer bfloat16")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--phrases", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[17, 18, 19])
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.rows, arguments.phrases, arguments.epochs, arguments.seed)))
        return
    results: dict[str, list[dict[str, Any]]] = {"segadmin": [], "Trainer float32": [], "Trainer bfloat16": []}
    for seed in arguments.seeds:
        for name, fits in results.items():
            command = [sys.executable, "-m", "bench.train", "--only", name, "--seed", str(seed)]
            options = [f"--{option}={getattr(arguments, option)}" for option in ("rows", "phrases", "epochs")]
            done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, text=True)
            fits.append(json.loads(done.stdout.splitlines()[-1]))
            print(seed, name, fits[-1], flush=True)
    own = results["segadmin"]
    ratios = {
        f"times {name}": {
            part: round(statistics.median(other[part] / mine[part] for mine, other in zip(own, fits, strict=True)), 2)
            for part in ("seconds", "training")
        }
        for name, fits in results.items()
        if name != "segadmin"
    }
    losses = {name: round(statistics.mean(fit["log_loss"] for fit in fits), 4) for name, fits in results.items()}
    speed = {
        name: round(arguments.rows * arguments.epochs / statistics.median(fit["training"] for fit in fits), 1)
        for name, fits in results.items()
    }
    print(json.dumps({"users_per_second": speed, **ratios, "log_loss": losses}))


if __name__ == "__main__":
    main()
