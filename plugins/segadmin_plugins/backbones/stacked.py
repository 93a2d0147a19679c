"""``stacked``: a language model that reads the text and trees that read the features, as one model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from segadmin.errors import ConfigurationError
from segadmin.learn.backbone import Backbone, Classifier, Examples, Fit, no_progress
from segadmin.learn.resolve import resolve_backbone
from segadmin.learn.split import draw
from segadmin.plugins import load_plugins
from segadmin.settings import Settings, get_settings
from segadmin_plugins.backbones.installed import require
from segadmin_plugins.backbones.options import pairs
from segadmin_plugins.backbones.tabular import Tabular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEAST = 1e-7  #: a probability below counts as this, so that its logarithm exists


@dataclass(frozen=True, kw_only=True)
class Stacked(Backbone):
    """What text tells and what features tell, weighed against each other.

    Without ``folds`` both are fitted on the training users, and how much each counts is found on the validation users
    (a logarithmic opinion pool). With two folds or more the trees read, beside the features, what language models said
    of users that they had not learnt from (stacked generalization, Wolpert 1992); that takes ``folds`` more fits.
    """

    name: ClassVar[str] = "stacked"

    text: str = "minilm"  #: the backbone that reads the text: a registered name, a Hugging Face id, or a folder
    text_options: str = ""  #: its options, such as ``epochs=1,max_tokens=96``
    folds: Annotated[int, Field(ge=0, le=20)] = 0

    def check(self, settings: Settings) -> None:
        """Check what both need."""
        require(self.name, ("lightgbm", "sklearn", "scipy"))
        if self.folds == 1:
            raise ConfigurationError("folds=1 leaves nothing to learn from. Use 0, or two and more.")
        self._text(settings).check(settings)

    def fit(self, train: Examples, validation: Examples, run: Fit) -> StackedClassifier:
        """Fit both, and what puts them together."""
        reader = self._text(run.settings)
        shares = self.folds + 1
        said: list[tuple[NDArray[np.bool_], NDArray[np.float32]]] = []
        for fold in range(self.folds):
            inside = self._fold(train, run.seed) == fold
            model = reader.fit(_rows(train, ~inside), validation, _part(run, f"fold{fold}", fold / shares, 1 / shares))
            said.append((inside, model.predict(_rows(train, inside))))
        text = reader.fit(train, validation, _part(run, "text", self.folds / shares, 0.95 / shares))
        told = text.predict(validation)
        trees, last = Tabular(), _part(run, "trees", 0.95, 0.05)
        if said:
            found = trees.fit(_beside(train, _whole(said, train)), _beside(validation, told), last)
            weights = (0.0, 1.0)
        else:
            found = trees.fit(train, validation, last)
            weights = _weigh(told, found.predict(validation), validation)
        report = {
            "weights": {"text": round(weights[0], 4), "features": round(weights[1], 4)},
            "folds": self.folds,
            "text": text.report,
            "features": found.report,
            "truncation": text.report.get("truncation", {}),
        }
        return StackedClassifier(text, found, weights, stacked=bool(said), report=report)

    def load(self, folder: Path) -> StackedClassifier:
        """Read both from ``folder``."""
        kept = json.loads((folder / "stacked.json").read_text())
        text = self._text(get_settings()).load(folder / "text")
        trees = Tabular().load(folder / "features")
        return StackedClassifier(text, trees, tuple(kept["weights"]), stacked=kept["stacked"], report=kept["report"])

    def _text(self, settings: Settings) -> Backbone:
        plugins = load_plugins(settings)
        name, options = resolve_backbone(plugins, self.text, pairs("text_options", self.text_options))
        if name == self.name:
            raise ConfigurationError("stacked cannot read the text itself. Say which does: text=minilm")
        made: Backbone = plugins.make("backbone", name, options)
        return made

    def _fold(self, train: Examples, seed: int) -> NDArray[np.int64]:
        """Return the fold of every row; all rows of a user are in one."""
        import numpy as np

        drawn = draw(train.frame["user_key"].to_numpy(), seed + 1)
        folds: NDArray[np.int64] = np.floor(drawn * self.folds).astype(np.int64)
        return folds


class StackedClassifier(Classifier):
    """Both, fitted."""

    def __init__(
        self, text: Classifier, trees: Classifier, weights: tuple[float, ...], *, stacked: bool, report: dict[str, Any]
    ) -> None:
        self._text, self._trees, self._weights, self._stacked, self.report = text, trees, weights, stacked, report

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment."""
        told = self._text.predict(examples, progress)
        trees = self._trees.predict(_beside(examples, told) if self._stacked else examples)
        return _pool(told, trees, self._weights)

    def save(self, folder: Path) -> None:
        """Write each into a folder of its own."""
        self._text.save(folder / "text")
        self._trees.save(folder / "features")
        kept = {"weights": self._weights, "stacked": self._stacked, "report": self.report}
        (folder / "stacked.json").write_text(json.dumps(kept, ensure_ascii=False, indent=2))


def _part(run: Fit, name: str, start: float, share: float) -> Fit:
    """Return ``run`` for one of the fits: its own checkpoints, and its share of the progress."""
    folder = run.checkpoints / name
    folder.mkdir(parents=True, exist_ok=True)

    def progress(done: float, note: str = "") -> None:
        run.progress(start + done * share, f"{name}: {note}")

    return replace(run, checkpoints=folder, progress=progress)


def _rows(examples: Examples, chosen: NDArray[np.bool_]) -> Examples:
    return replace(examples, frame=examples.frame.filter(chosen))


def _whole(said: list[tuple[NDArray[np.bool_], NDArray[np.float32]]], train: Examples) -> NDArray[np.float32]:
    """Return what was said of every training row, by the model that had not learnt from its user."""
    import numpy as np

    told = np.zeros((len(train), len(train.segments)), np.float32)
    for inside, probabilities in said:
        told[inside] = probabilities
    return told


def _beside(examples: Examples, told: NDArray[np.float32]) -> Examples:
    """Return ``examples`` with the log-probabilities of the text as more features."""
    import numpy as np
    import polars as pl

    logs = np.log(np.clip(told, _LEAST, 1.0))
    both = np.concatenate([examples.features, logs], axis=1) if len(examples.feature_names) else logs
    names = (*examples.feature_names, *(f"text:{segment}" for segment in examples.segments))
    features = pl.Series("features", both.astype(np.float32)).cast(pl.List(pl.Float32))
    return replace(examples, frame=examples.frame.with_columns(features), feature_names=names)


def _pool(text: NDArray[np.float32], trees: NDArray[np.float32], weights: tuple[float, ...]) -> NDArray[np.float32]:
    """Return probabilities whose logarithms are the weighed sums of those of both."""
    import numpy as np

    from segadmin_plugins.backbones.numbers import softmax

    if not len(text):
        return text
    logs = [np.log(np.clip(one, _LEAST, 1.0)) for one in (text, trees)]
    return softmax(weights[0] * logs[0] + weights[1] * logs[1])


def _weigh(text: NDArray[np.float32], trees: NDArray[np.float32], validation: Examples) -> tuple[float, float]:
    """Return the weights with the lowest log-loss on validation; equal ones where there are no rows."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    if not len(validation):
        return 0.5, 0.5
    # In double precision: the slope is found by steps that single precision would not see.
    logs = [np.log(np.clip(one.astype(np.float64), _LEAST, 1.0)) for one in (text, trees)]
    rows, targets = np.arange(len(validation)), validation.targets

    def loss(weights: NDArray[np.float64]) -> float:
        return -float(log_softmax(weights[0] * logs[0] + weights[1] * logs[1], axis=1)[rows, targets].mean())

    found = minimize(loss, x0=(0.5, 0.5), bounds=((0.0, 3.0), (0.0, 3.0)), method="L-BFGS-B")
    return float(found.x[0]), float(found.x[1])
