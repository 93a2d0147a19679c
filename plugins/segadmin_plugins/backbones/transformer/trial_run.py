"""A trial fit on a few texts, saved and loaded again, which shows problems of a model in seconds."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from segadmin.contracts.backbone import Examples, FitContext
from segadmin.errors import BackboneUnavailable, SegadminError
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import threads
from segadmin_plugins.backbones.transformer.classifier import load_classifier
from segadmin_plugins.backbones.transformer.finetuning import fit_classifier
from segadmin_plugins.backbones.transformer.fitness import notes
from segadmin_plugins.backbones.transformer.model_source import ModelSource
from segadmin_plugins.backbones.transformer.warm_start import start_from
from segadmin_plugins.backbones.transformer.weights_lookup import LARGE, WANTED, weights_size
from segadmin_plugins.engines.silence_transformers import quiet

#: Layers of a large model that are tried, so that it is loaded and saved in seconds.
_LAYERS = 2
#: Names of layer counts in configurations, and of lists with an entry per layer.
_COUNTS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "encoder_layers",
    "decoder_layers",
    "num_decoder_layers",
)
_LISTS = ("layer_types", "mlp_layer_types", "no_rope_layers")
_TEXTS = (["bought milk", "viewed coffee </s>"], ["bought wine"], ["购买牛奶", "浏览咖啡 [SEP]"], ["\U0001f9c3"])
#: Tolerance of probabilities after loading; bfloat16 has three digits.
_CLOSE = {"float32": 1e-4, "bfloat16": 3e-2}


def try_model(options: ModelSource, settings: Settings) -> list[str]:
    """Fit, save and load the model that ``options`` describe, with the code of a job.

    Returns:
        Notes on the model and its tokenizer, one per line.

    Raises:
        BackboneUnavailable: a step fails, or the loaded model predicts differently from the saved one.
    """
    name = str(getattr(options, "model", "") or options.name)
    with tempfile.TemporaryDirectory(prefix="segadmin-check-") as work:
        try:
            return _try(options, settings, Path(work))
        except SegadminError:
            raise
        except Exception as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise BackboneUnavailable(
                f"{name!r} cannot be used: a fit on {len(_TEXTS)} texts failed with {type(error).__name__}: {reason}"
            ) from error


def _try(options: ModelSource, settings: Settings, work: Path) -> list[str]:
    short = replace(options, epochs=1, batch_size=2, accumulate=1, processes=1)
    folder = options.folder(settings)
    layers = ""
    if folder is not None and weights_size(folder) >= LARGE and hasattr(options, "model"):
        shallow = _shallow(folder, work / "shallow", settings)
        store = "adapter" if options.stores_adapter(folder, options.made_tuner(settings)) else "merged"
        changed = {"model": str(shallow), "store": store, "dtype": options.dtype_of_base(folder, settings)}
        short = replace(short, frozen_layers=min(short.frozen_layers, 1), **changed)  # type: ignore[arg-type]
        layers = f", with the lowest {_LAYERS} of its layers"
    examples = _examples()
    checkpoints = work / "checkpoints"
    checkpoints.mkdir()
    fitted = fit_classifier(short, examples, examples, FitContext(settings, checkpoints))
    before = fitted.predict(examples)
    fitted.save(work / "saved")
    loaded = load_classifier(work / "saved", threads(), settings, lambda: short.folder(settings))
    after = loaded.predict(examples)
    difference = float(np.abs(after - before).max())
    precision = fitted.adapter.dtype if fitted.adapter else str(fitted.model.text.dtype).removeprefix("torch.")
    if not difference <= _CLOSE.get(precision, _CLOSE["bfloat16"]):
        raise BackboneUnavailable(
            f"{getattr(options, 'model', options.name)!r} cannot be used: after saving and loading, its probabilities "
            f"are {difference:.2g} off."
        )
    stored = f"tried{layers}: a fit on {len(_TEXTS)} texts, saved as {fitted.report['stored']} and loaded again"
    return [*notes(fitted.model.text, fitted.encoder, options.max_tokens), stored]


def _examples() -> Examples:
    rows = len(_TEXTS)
    frame = pl.DataFrame(
        {
            "user_key": range(rows),
            "as_of": [datetime(2025, 1, 1, tzinfo=UTC)] * rows,
            "phrases": list(_TEXTS),
            "features": [[]] * rows,
            "target": [n % 2 for n in range(rows)],
        },
        schema_overrides={"features": pl.List(pl.Float32), "phrases": pl.List(pl.String)},
    )
    return Examples(frame, ("no", "yes"), ())


def _shallow(folder: Path, target: Path, settings: Settings) -> Path:
    """Write a model of the lowest layers of the one in ``folder``, with its tokenizer, and return its folder."""
    with _with_fewer_layers(folder, target.parent / "links") as links, quiet():
        model, tokenizer = start_from(links, ("no", "yes"), settings=settings, dtype="bfloat16")
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    return target


@contextmanager
def _with_fewer_layers(folder: Path, links: Path) -> Iterator[Path]:
    """Yield a folder of links to the files in ``folder``, whose configuration has few layers."""
    links.mkdir()
    for path in (path for pattern in WANTED for path in folder.glob(pattern)):
        if path.name != "config.json" and not (links / path.name).exists():
            (links / path.name).symlink_to(path.resolve())
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    config |= {name: min(config[name], _LAYERS) for name in _COUNTS if isinstance(config.get(name), int)}
    config |= {name: config[name][:_LAYERS] for name in _LISTS if isinstance(config.get(name), list)}
    (links / "config.json").write_text(json.dumps(config))
    yield links
