"""``stacked``: a language model of the text and simpler models of the features, combined."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, load_fitted, no_progress
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.labels.split import fold_of
from segadmin.settings import Settings
from segadmin_plugins.backbones.combination import TEXT, TextCombination, part_of, rows_of
from segadmin_plugins.backbones.pooled import LEAST, pool, weigh
from segadmin_plugins.backbones.requirements import require
from segadmin_plugins.options import Names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TREES = "tabular"


@dataclass(frozen=True, kw_only=True)
class Stacked(TextCombination):
    """Models of the text and of the features, combined.

    Without ``folds`` all models are fitted on the training users, and their weights on the validation users (a
    logarithmic opinion pool). With two folds or more the trees read, in addition to the features, out-of-fold
    predictions of the language model (stacked generalization, Wolpert 1992); that takes ``folds`` more fits.
    """

    name: ClassVar[str] = "stacked"

    beside: Names = ("tabular", "linear", "tfidf")  #: the backbones to combine with it
    folds: Annotated[int, Field(ge=0, le=20)] = 0

    @property
    def others(self) -> Names:
        """The names of the backbones beside that of the text."""
        return self.beside

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

    def load(self, folder: Path, settings: Settings) -> StackedClassifier:
        """Read all members from ``folder``."""
        stored = json.loads((folder / "stacked.json").read_text())
        members = self._members(settings).items()
        fitted = {name: load_fitted(member, folder / name, settings) for name, member in members}
        return StackedClassifier(fitted, stored["weights"], stacked=stored["stacked"], report=stored["report"])

    def _members(self, settings: Settings) -> dict[str, Backbone]:
        """Return the backbones by name, the one of the text first."""
        reader = self.reader(settings)
        if TEXT in self.beside or not self.beside:
            raise ConfigurationError(
                f"beside={','.join(self.beside)!r} names no backbones. Write it as beside=tabular,linear"
            )
        plugins = load_plugins(settings)
        return {TEXT: reader} | {member: plugins.make("backbone", member, {}) for member in self.beside}


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

    logs = np.log(np.clip(predictions, LEAST, 1.0))
    both = np.concatenate([examples.features, logs], axis=1) if len(examples.feature_names) else logs
    features = pl.Series("features", both.astype(np.float32)).cast(pl.List(pl.Float32))
    return replace(
        examples, frame=examples.frame.with_columns(features), feature_names=(*examples.feature_names, *names)
    )
