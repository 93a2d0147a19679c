"""How many users a second a language model reads, from text to probabilities, beside others with the same weights.

segadmin with each engine, transformers' pipeline with one text and with 32 texts at a time, and each runtime alone in
each precision, on token ids that are sorted by length (OpenVINO and ONNX Runtime where they are installed), in turn in
one process; the median of the runs. ``runtimes`` compares their answers with float32: only those that agree are in
``times_best_runtime``. ``limit`` is the rate that matrix
products of the model's own shapes reach on this machine, measured here in float32 and bfloat16, and ``share`` is the
fraction of it that segadmin used. Last line: JSON.

    python -m bench.score [--model minilm|FOLDER] [--phrases 12 46] [--max-tokens 256] [--users 2048] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.synthetic_texts import users as synthetic_users

SEGMENTS = ("low", "mid", "high")
#: Texts of the slow peers, and products of a measurement of the limit.
_PEER_TEXTS, _PRODUCTS = 96, 12
#: Users that the head is fitted on.
_HEAD_USERS = 320


def model_of(name: str, folder: Path) -> tuple[Path, Any]:
    """Write a classifier with these weights and a fitted head, and return its folder and its tokenizer."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import get_settings
    from segadmin_plugins.engines.silence_transformers import quiet

    source = (
        load_plugins(get_settings()).make("backbone", "minilm").folder(get_settings()) if name == "minilm" else name
    )
    torch.manual_seed(17)
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=len(SEGMENTS), dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
        fit_head(model, tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder, tokenizer


def fit_head(model: Any, tokenizer: Any) -> None:
    """Fit the last layer alone, so that texts are as far from the edges of the segments as with a trained model."""
    import torch
    from sklearn.linear_model import LogisticRegression

    from bench.train import labelled

    examples = labelled(_HEAD_USERS, 24, 1)
    texts = [" ".join(phrases) for phrases in examples.frame["phrases"].to_list()]
    states = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            batch = texts[start : start + 32]
            inputs = tokenizer(batch, truncation=True, max_length=256, padding=True, return_tensors="pt")
            states.append(model.base_model(**inputs).pooler_output)
    fitted = LogisticRegression(C=10.0, max_iter=1000).fit(torch.cat(states).numpy(), examples.targets)
    model.classifier.weight.data = torch.tensor(fitted.coef_, dtype=torch.float32)
    model.classifier.bias.data = torch.tensor(fitted.intercept_, dtype=torch.float32)


def segadmin_reader(folder: Path, max_tokens: int, engine: str) -> Any:
    """Return segadmin's classifier of the model in ``folder``, with an engine."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from segadmin.settings import get_settings
    from segadmin_plugins.backbones.features.scaling import Scaling
    from segadmin_plugins.backbones.transformer.batches import PhraseEncoder
    from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier
    from segadmin_plugins.backbones.transformer.head import UserModel

    model = AutoModelForSequenceClassification.from_pretrained(folder).to(
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    encoder = PhraseEncoder(AutoTokenizer.from_pretrained(folder), max_tokens)
    settings = get_settings().model_copy(update={"engine": engine})
    return TransformerClassifier(
        UserModel(model, None), encoder, Scaling.fit((), np.empty((1, 0), np.float32)), {}, settings=settings
    )


def pipeline_reader(folder: Path, max_tokens: int, batch: int, dtype: str) -> Callable[[list[str]], Any]:
    """Return transformers' pipeline of the model in ``folder``."""
    import torch
    from transformers import pipeline

    device = 0 if torch.cuda.is_available() else -1
    classify = pipeline(
        "text-classification", model=str(folder), device=device, top_k=None, dtype=getattr(torch, dtype)
    )
    classify.tokenizer.model_max_length = max_tokens
    return lambda texts: classify(texts, batch_size=batch, truncation=True)


def runtimes(classifier: Any, ids: Any) -> dict[str, tuple[Callable[[], float], dict[str, Any]]]:
    """Return for each runtime and precision what measures its texts per second, and how its answers compare."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.errors import EngineUnavailable
    from segadmin.settings import get_settings
    from segadmin_plugins.engines.trial import AGREEMENT, DIFFERENCE, compared, timed

    plugins, model, pad_id = load_plugins(get_settings()), classifier.model.text, classifier.encoder.pad_id
    device = next(model.parameters()).device.type
    plain = plugins.make("engine", "transformers")
    expected, _ = timed(plain.reader(model, pad_id, "float32"), plain.tokens_at_once(model), ids)
    readers = {}
    for name in plugins.names("engine"):
        engine = plugins.make("engine", name)
        for precision in engine.precisions(device):
            try:
                read, tokens = engine.reader(model, pad_id, precision), engine.tokens_at_once(model)
            except EngineUnavailable:
                continue
            comparison = compared(timed(read, tokens, ids)[0], expected)
            agrees = (
                comparison is not None and comparison.agreement >= AGREEMENT and comparison.difference <= DIFFERENCE
            )
            facts = {"agrees": agrees, **(comparison._asdict() if comparison else {})}
            readers[f"runtime {name} {precision}"] = partial(_texts_per_second, read, tokens, ids), facts
    return readers


def _texts_per_second(read: Any, tokens: int, ids: Any) -> float:
    from segadmin_plugins.engines.trial import timed

    return float(len(ids) / timed(read, tokens, ids)[1])


def flops_per_token(config: Any, length: float) -> float:
    """Return the floating-point operations that a token needs in all layers, attention included."""
    width, inner = config.hidden_size, config.intermediate_size
    return float(config.num_hidden_layers * (8 * width**2 + 4 * width * inner + 4 * width * length))


def limit(config: Any, dtype_name: str, tokens: int = 4096) -> float:
    """Return the operations per second of the model's largest matrix products on this machine."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype, best = getattr(torch, dtype_name), 0.0
    states = torch.randn(tokens, config.hidden_size, device=device).to(dtype)
    weights = torch.randn(config.intermediate_size, config.hidden_size, device=device).to(dtype)
    with torch.inference_mode():
        for _ in range(_PRODUCTS):
            began = time.perf_counter()
            torch.nn.functional.linear(states, weights)[0, 0].item()
            best = max(best, 2 * states.numel() * len(weights) / (time.perf_counter() - began))
    return best


def speed(read: Callable[[], Any], texts: int) -> float:
    """Return the texts per second of one run."""
    began = time.perf_counter()
    read()
    return texts / (time.perf_counter() - began)


def compare(folder: Path, phrases: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all readers on users with about this many phrases."""
    from transformers import AutoConfig

    from segadmin.contracts.backbone import Examples
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import get_settings
    from segadmin_plugins.engines.silence_transformers import quiet

    frame = synthetic_users(arguments.users, phrases)
    examples, few_examples = (Examples(part, SEGMENTS, ()) for part in (frame, frame.head(_PEER_TEXTS)))
    few = [" ".join(text) for text in frame["phrases"].head(_PEER_TEXTS).to_list()]
    engines = ["auto", *(name for name in load_plugins(get_settings()).names("engine") if name != "transformers")]
    with quiet():
        classifiers = {name: segadmin_reader(folder, arguments.max_tokens, name) for name in (*engines, "transformers")}
        peers = {
            "pipeline b1": pipeline_reader(folder, arguments.max_tokens, 1, "float32"),
            "pipeline b32": pipeline_reader(folder, arguments.max_tokens, 32, "float32"),
            "pipeline b32 bfloat16": pipeline_reader(folder, arguments.max_tokens, 32, "bfloat16"),
        }
        read = {name: few_examples if name == "transformers" else examples for name in classifiers}
        for name, classifier in classifiers.items():
            classifier.predict(read[name])  # chooses the engine, and knows the phrases
        bare = runtimes(classifiers["auto"], classifiers["auto"].encoder.encode(few_examples.frame["phrases"]).ids)
        speeds: dict[str, list[float]] = {name: [] for name in (*classifiers, *peers, *bare)}
        for _ in range(arguments.runs):
            for name, classifier in classifiers.items():
                speeds[name].append(speed(partial(classifier.predict, read[name]), len(read[name])))
            for name, classify in peers.items():
                speeds[name].append(speed(partial(classify, few), len(few)))
            for name, (texts_per_second, _) in bare.items():
                speeds[name].append(texts_per_second())
    median = {name: statistics.median(values) for name, values in speeds.items()}
    auto, config = classifiers["auto"], AutoConfig.from_pretrained(folder)
    lengths = auto.encoder.encode(frame["phrases"]).ids.lengths
    used = median["auto"] * lengths.mean() * flops_per_token(config, float(lengths.mean()))
    difference = np.abs(auto.predict(few_examples) - classifiers["transformers"].predict(few_examples)).max()
    return {
        "tokens": round(float(lengths.mean()), 1),
        "users_per_second": {name: round(value, 1) for name, value in median.items()},
        "times_pipeline_b32": round(median["auto"] / median["pipeline b32"], 2),
        "times_pipeline_b1": round(median["auto"] / median["pipeline b1"], 2),
        "times_better_pipeline": round(
            median["auto"] / max(median["pipeline b32"], median["pipeline b32 bfloat16"]), 2
        ),
        "times_best_runtime": round(
            median["auto"] / max(median[name] for name, (_, facts) in bare.items() if facts["agrees"]), 2
        ),
        "runtimes": {name: facts for name, (_, facts) in bare.items()},
        "inference": dict(auto.inference),
        "largest_difference": round(float(difference), 5),
        "limit_gflops": {name: round(limit(config, name) / 1e9, 1) for name in ("float32", "bfloat16")},
        "share_of_limit": round(
            float(used) / limit(config, str(auto.inference["precision"]).replace("int8", "float32")), 3
        ),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--phrases", type=int, nargs="+", default=[12, 46])
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--users", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder, _ = model_of(arguments.model, Path(work))
        results = [compare(folder, phrases, arguments) for phrases in arguments.phrases]
    for result in results:
        for name, value in result.items():
            print(f"{name:24} {value}")
        print()
    print(json.dumps({"model": arguments.model, "results": results}))


if __name__ == "__main__":
    main()
