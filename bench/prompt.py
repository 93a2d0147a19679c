"""What a prompt brings a small decoder: zero-shot, and tuned by LoRA on 64 labelled households, text alone.

No decoder with weights of its own can be had offline, so one of Llama's shape is trained here to predict the next token
of the texts of all households that are not held out, at the training cut-offs. It knows a word only if these texts
have it: the names of the segments of ``next_categories`` they have (``beef``), those of ``affin10`` (departments) and
``spend3`` (low, mid, high) hardly. Draws and rows are those of ``bench.few_labels``; of the test rows, ``--test`` are
read. The decoder is trained once and stays in the home. Last line: JSON.

    SEGADMIN_HOME=HOME python -m bench.prompt [--tasks spend3,next_categories] [--seeds 17,18,19]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.few_labels import read_rows
from bench.labels import drawn, summary

#: Of the decoder: width, layers, heads, words.
WIDTH, LAYERS, HEADS, WORDS = 128, 3, 4, 4_000
TOKENS = 256
#: What is compared: options of ``hf``, and whether the files have the language model's head.
METHODS: dict[str, tuple[dict[str, str], bool]] = {
    "no prompt": ({}, True),
    "prompt, random layer": ({"prompt": "classification"}, False),
    "prompt": ({"prompt": "classification"}, True),
}
#: At the rate of ``still`` no weight changes: what is measured is zero-shot.
STILL = {"learning_rate": "1e-30", "epochs": "1"}
TUNED = {"tuner": "lora", "epochs": "20", "patience": "8", "batch_size": "16", "learning_rate": "1e-4"}


def write_decoder(texts: Any, folder: Path) -> None:
    """Write a decoder with random weights, and a lower-case tokenizer of the texts' words."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from segadmin_plugins.backbones.tiny import wordpiece

    tokenizer = wordpiece(texts.frame["phrases"].explode().drop_nulls().unique().sort().to_list(), WORDS)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=2 * TOKENS,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def pretrained(texts: Any, held_out: Any, epochs: int) -> dict[bool, Path]:
    """Return the folders of the decoder that has read ``texts``, with and without the language model's head."""
    from segadmin.contracts.backbone import FitContext, Pretraining
    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.hf import HuggingFace
    from segadmin_plugins.backbones.transformer.prompt import LANGUAGE_HEAD

    work = Path(get_settings().root) / f"bench-prompt-{epochs}"
    folders = {True: work / "with-head", False: work / "without-head"}
    if not folders[False].exists():
        base = work / "base"
        write_decoder(texts, base)
        options = HuggingFace(model=str(base), max_tokens=TOKENS, epochs=epochs, batch_size=16, learning_rate=1e-3)
        model = options.pretrain(texts, held_out, FitContext(get_settings(), work), Pretraining())
        print(json.dumps(model.report), flush=True)
        model.save(folders[True])
        shutil.copytree(folders[True], folders[False])
        (folders[False] / LANGUAGE_HEAD).unlink()
    return folders


def learn(options: dict[str, str], start: Path, parts: Sequence[Any], seed: int) -> float:
    """Return the test AUROC of a fit on the first of ``parts``, stopped by the second."""
    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.plugins import load_plugins
    from segadmin.evaluation.metrics import measure
    from segadmin.settings import get_settings

    train, validation, test = parts
    fixed = {"model": str(start), "features": "false", "max_tokens": str(TOKENS)}
    backbone = load_plugins(get_settings()).make("backbone", "hf", fixed | options)
    with tempfile.TemporaryDirectory() as folder:
        fitted = backbone.fit(train, validation, FitContext(get_settings(), Path(folder), seed, start=start))
        probabilities = fitted.predict(test).astype(float)
    return float(measure(probabilities, test.targets, test.segments)["auroc"])


def main() -> None:
    """Measure every task, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="spend3,next_categories")
    parser.add_argument("--seeds", default="17,18,19")
    parser.add_argument("--size", type=int, default=64, help="labelled households")
    parser.add_argument("--test", type=int, default=1_500, help="most test rows")
    parser.add_argument("--epochs", type=int, default=6, help="in which the decoder reads all texts")
    wanted = parser.parse_args()
    rows, unlabelled = read_rows()
    folders = pretrained(unlabelled.users, rows.everything.validation, wanted.epochs)
    metrics: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    seeds = list(map(int, wanted.seeds.split(",")))
    for task in wanted.tasks.split(","):
        parts = rows.of(task)
        frame = parts["test"].frame
        test = replace(parts["test"], frame=frame.sample(min(wanted.test, len(frame)), seed=0))
        for seed in seeds:
            few = *drawn(parts, wanted.size, seed), test
            ways = {"zero-shot": (METHODS["prompt"][0] | STILL, True)} if seed == seeds[0] else {}
            ways |= {name: (options | TUNED, head) for name, (options, head) in METHODS.items()}
            for name, (options, head) in ways.items():
                start = time.monotonic()
                metrics[task][name][wanted.size].append(learn(options, folders[head], few, seed))
                took = time.monotonic() - start
                print(f"{task} {seed} {name}: {metrics[task][name][wanted.size][-1]:.3f} {took:.0f} s", flush=True)
    curves = {task: summary(by_method) for task, by_method in metrics.items()}
    print(json.dumps({"bench": "prompt", "seeds": seeds, "test": wanted.test, "tasks": curves}))


if __name__ == "__main__":
    main()
