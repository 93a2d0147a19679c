"""How fast a large decoder is fine-tuned with LoRA, and how much memory it takes.

The decoder has the shape of a published one and random weights, written to a folder as those of the hub are; the fit,
the stored version and its probabilities after loading are those of a job with ``--backbone FOLDER``. The memory is the
peak of the GPU, or of the process without one. Last line: JSON.

    python -m bench.decoder 7b [--kind llama] [--rows 256] [--batch 16] [--tokens 512]
        [--option prompt=classification]

``7b`` takes 79 GiB of a GPU and 16 GiB of disk where ``--folder`` is; ``tiny`` runs anywhere.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.synthetic_texts import vocabulary
from bench.train import HELD_OUT, labelled

#: Width, layers, heads, heads of keys and values, width of the feed-forward block, rows of the embedding: Qwen2.5's.
SHAPES = {
    "tiny": (64, 2, 4, 2, 128, 4_096),
    "0.5b": (896, 24, 14, 2, 4_864, 151_936),
    "1.5b": (1_536, 28, 12, 2, 8_960, 151_936),
    "7b": (3_584, 28, 28, 4, 18_944, 152_064),
}
_NAMES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)
_GIB, _MIB = 2**30, 2**20
#: Largest difference of a probability between the fitted and the loaded version; bfloat16 has three digits.
_CLOSE = 3e-2


def write_decoder(kind: str, size: str, tokens: int, folder: Path) -> None:
    """Write a decoder of ``kind`` with random weights in bfloat16, and a tokenizer of the synthetic phrases."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from segadmin_plugins.backbones.tiny import wordpiece

    tokenizer = wordpiece(vocabulary(), 4_000)
    shape = dict(zip(_NAMES, SHAPES[size], strict=True))
    config = AutoConfig.for_model(
        kind, **shape, max_position_embeddings=max(tokens, 1_024), pad_token_id=tokenizer.pad_token_id
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="4GB")
    tokenizer.save_pretrained(folder)


def measure(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Write, fit, save and load a decoder, and return what was measured."""
    import torch

    from segadmin.contracts.backbone import FitContext
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import get_settings

    base, checkpoints, version = work / "base", work / "checkpoints", work / "version"
    checkpoints.mkdir()
    write_decoder(arguments.kind, arguments.size, arguments.tokens, base)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    options = {"model": str(base), "max_tokens": arguments.tokens, "batch_size": arguments.batch, "epochs": 1}
    options |= {"tuner": "lora", "store": "adapter"} | dict(option.split("=", 1) for option in arguments.option)
    backbone = load_plugins(get_settings()).make("backbone", "hf", options)
    train = labelled(arguments.rows, arguments.phrases, 17)
    held_out = labelled(max(int(HELD_OUT * arguments.rows), 1), arguments.phrases, 1017)
    began = time.perf_counter()
    fitted = backbone.fit(train, held_out, FitContext(get_settings(), checkpoints))
    seconds, peak = time.perf_counter() - began, peak_gib()
    probabilities = fitted.predict(held_out)
    fitted.save(version)
    del fitted
    loaded = backbone.load(version, get_settings())
    difference = float(np.abs(loaded.predict(held_out) - probabilities).max())
    if not difference <= _CLOSE:
        raise SystemExit(f"the probabilities of the loaded version are {difference:.2g} off")
    report = loaded.report
    names = (
        "users_per_second",
        "seconds",
        "batch_size",
        "packed",
        "gradient_checkpointing",
        "trained_weights",
        "weights",
    )
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "decoder": f"{arguments.kind} {arguments.size}",
        **{name: report[name] for name in names},
        **{name: report[name] for name in ("prompt",) if name in report},
        "mean_tokens": report["truncation"]["tokens"] // report["truncation"]["users"],
        "peak_gib": round(peak, 2),
        "fit_seconds": round(seconds, 1),
        "version_mib": round(sum(path.stat().st_size for path in version.iterdir()) / _MIB, 2),
        "base_mib": round(sum(path.stat().st_size for path in base.iterdir()) / _MIB, 2),
        "difference_after_loading": round(difference, 5),
    }


def peak_gib() -> float:
    """Return the largest memory that torch reserved on the GPU, or that this process had without one, in GiB."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / _GIB
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SHAPES)
    parser.add_argument("--kind", choices=("qwen2", "llama"), default="qwen2")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--phrases", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the backbone")
    parser.add_argument("--folder", help="for the weights; default: the folder of temporary files")
    arguments = parser.parse_args(given)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        print(json.dumps(measure(arguments, Path(work))))


if __name__ == "__main__":
    main()
