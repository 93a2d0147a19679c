"""``stacked``: a language model of the text and simpler models of the features, combined."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from segadmin.contracts.backbone import (
    Backbone,
    Classifier,
    Examples,
    FitContext,
    Pretraining,
    SavableModel,
    TokenCounts,
    load_fitted,
    no_progress,
)
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import ConfigurationError
from segadmin.labels.split import fold_of
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import require
from segadmin_plugins.options import Names, Table

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

Predictions = Mapping[str, "NDArray[np.float32]"]
_LEAST = 1e-7  #: smallest probability, so that its logarithm exists
#: Pulls the weights towards equality: strong on a hundred validation users, negligible on thousands.
_RIDGE = 1.0
_MOST = 3.0  #: largest weight of a model
TEXT, TREES = "text", "tabular"


@dataclass(frozen=True, kw_only=True)
class Stacked(Backbone):
    """Models of the text and of the features, combined.

    Without ``folds`` all models are fitted on the training users, and their weights on the validation users (a
    logarithmic opinion pool). With two folds or more the trees read, in addition to the features, out-of-fold
    predictions of the language model (stacked generalization, Wolpert 1992); that takes ``folds`` more fits.
    """

    name: ClassVar[str] = "stacked"
    supports_warm_start: ClassVar[bool] = True
    supports_auxiliary_tasks: ClassVar[bool] = True
    language_defaults: ClassVar[Mapping[str, Mapping[str, str]]] = {"zh": {"text": "e5"}}  # minilm reads English

    text: str = "minilm"  #: the backbone that reads the text: a registered name, a Hugging Face id, or a folder
    text_options: Table = field(default_factory=dict)  #: its options, such as ``epochs=1,max_tokens=96``
    beside: Names = ("tabular", "linear", "tfidf")  #: the backbones to combine with it
    folds: Annotated[int, Field(ge=0, le=20)] = 0

    def check(self, settings: Settings) -> None:
        """Check the requirements of all members."""
        require(self.name, ("lightgbm", "sklearn", "scipy"))
        if self.folds == 1:
            raise ConfigurationError("folds=1 leaves nothing to learn from. Use 0, or two and more.")
        members = self._members(settings)
        if self.folds and TREES not in members:
            raise ConfigurationError(
                f"folds={self.folds} needs trees that read the predictions of the text. Add them: beside=tabular"
            )
        for member in members.values():
            member.check(settings)

    def try_run(self, settings: Settings) -> list[str]:
        """Try the backbone of the text."""
        return self._members(settings)[TEXT].try_run(settings)

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> StackedClassifier:
        """Fit all members and their weights."""
        members = self._members(run.settings)
        reader = members.pop(TEXT)
        shares = self.folds + 1
        folds: list[tuple[NDArray[np.bool_], NDArray[np.float32]]] = []
        fold_of_row = fold_of(train.frame["user_key"].to_numpy(), self.folds, run.seed)
        for fold in range(self.folds):
            inside = fold_of_row == fold
            model = reader.fit(
                rows_of(train, ~inside), validation, part_of(run, f"fold{fold}", fold / shares, 1 / shares)
            )
            folds.append((inside, model.predict(rows_of(train, inside))))
        fitted = {TEXT: reader.fit(train, validation, part_of(run, TEXT, self.folds / shares, 0.95 / shares))}
        predictions = {TEXT: fitted[TEXT].predict(validation)}
        for n, (name, member) in enumerate(members.items()):
            part = part_of(run, name, 0.95 + 0.05 * n / len(members), 0.05 / len(members))
            stacked = bool(folds) and name == TREES
            training, held_out = train, validation
            if stacked:
                training, held_out = (
                    _with_text_predictions(train, _out_of_fold(folds, train)),
                    _with_text_predictions(validation, predictions[TEXT]),
                )
            fitted[name] = member.fit(training, held_out, part)
            predictions[name] = fitted[name].predict(held_out)
        # Trees that read the predictions of the text need no weights.
        weights = {TREES: 1.0} if folds else weigh(predictions, validation)
        report = {
            "weights": {name: round(weight, 4) for name, weight in weights.items()},
            "folds": self.folds,
            **{name: model.report for name, model in fitted.items()},
            "truncation": fitted[TEXT].report.get("truncation", {}),
        }
        return StackedClassifier(fitted, weights, stacked=bool(folds), report=report)

    def pretrain(self, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining) -> SavableModel:
        """Pretrain the backbone of the text; the others learn nothing from unlabelled texts."""
        return self._members(run.settings)[TEXT].pretrain(texts, held_out, run, how)

    def load(self, folder: Path, settings: Settings) -> StackedClassifier:
        """Read all members from ``folder``."""
        stored = json.loads((folder / "stacked.json").read_text())
        members = self._members(settings).items()
        fitted = {name: load_fitted(member, folder / name, settings) for name, member in members}
        return StackedClassifier(fitted, stored["weights"], stacked=stored["stacked"], report=stored["report"])

    def count_tokens(self, folder: Path, settings: Settings, phrases: pl.Series) -> TokenCounts | None:
        """Return how the tokenizer of the language model reads texts."""
        return self._members(settings)[TEXT].count_tokens(folder / TEXT, settings, phrases)

    def _members(self, settings: Settings) -> dict[str, Backbone]:
        """Return the backbones by name, the one of the text first."""
        plugins = load_plugins(settings)
        name, options = resolve_backbone(plugins, self.text, self.text_options)
        if self.name in {name, *self.beside}:
            raise ConfigurationError("stacked cannot be a part of itself. Name the backbone of the text: text=minilm")
        if TEXT in self.beside or not self.beside:
            raise ConfigurationError(
                f"beside={','.join(self.beside)!r} names no backbones. Write it as beside=tabular,linear"
            )
        return {TEXT: plugins.make("backbone", name, options)} | {
            member: plugins.make("backbone", member, {}) for member in self.beside
        }


class StackedClassifier(Classifier):
    """The fitted members and their weights."""

    def __init__(
        self, fitted: Mapping[str, Classifier], weights: Mapping[str, float], *, stacked: bool, report: dict[str, Any]
    ) -> None:
        self._fitted, self._weights, self._stacked, self.report = dict(fitted), dict(weights), stacked, report

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment."""
        text = self._fitted[TEXT]
        predictions = {TEXT: text.predict(examples, progress)}
        self.remark, self.inference = text.remark, text.inference
        for name, model in self._fitted.items():
            if name != TEXT and self._weights.get(name):
                reads_text = self._stacked and name == TREES
                predictions[name] = model.predict(
                    _with_text_predictions(examples, predictions[TEXT]) if reads_text else examples
                )
        return pool(predictions, self._weights)

    def save(self, folder: Path) -> None:
        """Write each member to its own folder."""
        for name, model in self._fitted.items():
            model.save(folder / name)
        self._save_weights(folder)

    def export(self, folder: Path) -> None:
        """Write each member to its own folder, with everything that it needs."""
        for name, model in self._fitted.items():
            model.export(folder / name)
        self._save_weights(folder)

    def _save_weights(self, folder: Path) -> None:
        stored = {"weights": self._weights, "stacked": self._stacked, "report": self.report}
        (folder / "stacked.json").write_text(json.dumps(stored, ensure_ascii=False, indent=2))


def part_of(run: FitContext, name: str, start: float, share: float) -> FitContext:
    """Return ``run`` for one of the fits, with its own checkpoints and its part of the progress."""
    folder = run.checkpoints / name
    folder.mkdir(parents=True, exist_ok=True)

    def progress(done: float, note: str = "") -> None:
        run.progress(start + done * share, f"{name}: {note}")

    def log(step: int, figures: Mapping[str, float]) -> None:
        run.log(step, {f"{name}/{figure}": value for figure, value in figures.items()})

    begin = run.start / TEXT if run.start and (run.start / TEXT).is_dir() else run.start
    return replace(run, checkpoints=folder, progress=progress, log=log, start=begin)


def rows_of(examples: Examples, chosen: NDArray[np.bool_]) -> Examples:
    """Return the ``chosen`` rows, ``(n_rows,) bool``."""
    return replace(examples, frame=examples.frame.filter(chosen))


def _out_of_fold(folds: list[tuple[NDArray[np.bool_], NDArray[np.float32]]], train: Examples) -> NDArray[np.float32]:
    """Return the prediction for every training row by the model that was trained without its user."""
    import numpy as np

    predictions = np.zeros((len(train), len(train.segments)), np.float32)
    for inside, probabilities in folds:
        predictions[inside] = probabilities
    return predictions


def _with_text_predictions(examples: Examples, predictions: NDArray[np.float32]) -> Examples:
    return with_predictions(examples, predictions, [f"text:{segment}" for segment in examples.segments])


def with_predictions(examples: Examples, predictions: NDArray[np.float32], names: Sequence[str]) -> Examples:
    """Return ``examples`` with the logarithms of ``predictions``, ``(n_rows, n_names)``, as additional features."""
    import numpy as np
    import polars as pl

    logs = np.log(np.clip(predictions, _LEAST, 1.0))
    both = np.concatenate([examples.features, logs], axis=1) if len(examples.feature_names) else logs
    features = pl.Series("features", both.astype(np.float32)).cast(pl.List(pl.Float32))
    return replace(
        examples, frame=examples.frame.with_columns(features), feature_names=(*examples.feature_names, *names)
    )


def pool(predictions: Predictions, weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Return probabilities whose logarithms are the weighted sums of all, ``(n_rows, n_segments)``."""
    import numpy as np

    from segadmin_plugins.backbones.numbers import softmax

    logs = sum(
        weights.get(name, 0.0) * np.log(np.clip(probabilities, _LEAST, 1.0))
        for name, probabilities in predictions.items()
    )
    return softmax(np.asarray(logs))


def weigh(predictions: Predictions, validation: Examples) -> dict[str, float]:
    """Return the weights with the lowest log-loss on validation; equal ones if there are no rows."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    equal = np.full(len(predictions), 1 / len(predictions))
    if not len(validation):
        return dict(zip(predictions, equal.tolist(), strict=True))
    # In double precision: finite differences need more than single precision.
    logs = np.stack(
        [np.log(np.clip(probabilities.astype(np.float64), _LEAST, 1.0)) for probabilities in predictions.values()]
    )
    rows, targets = np.arange(len(validation)), validation.targets

    def loss(weights: NDArray[np.float64]) -> float:
        pooled = log_softmax(np.tensordot(weights, logs, axes=1), axis=1)
        return float(_RIDGE * ((weights - equal) ** 2).sum() / len(rows) - pooled[rows, targets].mean())

    solution = minimize(loss, x0=equal, bounds=[(0.0, _MOST)] * len(predictions), method="L-BFGS-B")
    return dict(zip(predictions, solution.x.tolist(), strict=True))
