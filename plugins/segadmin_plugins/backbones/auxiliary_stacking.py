"""``auxiliary-stacking``: for few labels, a regression on the predictions of models of other label sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, load_fitted, no_progress
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import ConfigurationError
from segadmin.labels.split import draw, fold_of
from segadmin.settings import Settings
from segadmin_plugins.backbones.combination import part_of, rows_of
from segadmin_plugins.backbones.linear import Linear
from segadmin_plugins.backbones.prior_regression import fit_prior_regression
from segadmin_plugins.backbones.requirements import require
from segadmin_plugins.backbones.stacked import with_predictions
from segadmin_plugins.options import Names, Numbers, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The file beside the models; it has the former name of the backbone.
_FILE = "foresight.json"
#: Models by ``labels:reader``, one for each fold of the users.
AuxiliaryModels = dict[str, list[Classifier]]
#: Fraction of the users of an auxiliary label set held out to stop early.
_HELD_OUT = 0.15


@dataclass(frozen=True, kw_only=True)
class AuxiliaryStacking(Backbone):
    """A regression on the predictions of models of other label sets (``--auxiliary-labels``).

    Labels that are derived from behaviour exist for every user, so models of them are good, and few weights remain to
    be learned: fewest if an auxiliary segment has the name of a target segment (case is ignored). The predictions for a
    labelled user come from models that were not trained on that user.
    """

    name: ClassVar[str] = "auxiliary-stacking"
    supports_auxiliary_tasks: ClassVar[bool] = True

    readers: Names = ("tabular", "linear")  #: the backbones that are trained on the other label sets
    reader_options: Table = field(default_factory=dict)  #: options of all of them, such as ``epochs=1``
    folds: Annotated[int, Field(ge=2, le=20)] = 3
    features: bool = False  #: use the features too
    #: ridge strengths for features without the same name; chosen on held-out users
    ridges: Numbers = (10_000.0, 1000.0, 300.0, 100.0, 30.0, 10.0)

    def check(self, settings: Settings) -> None:
        """Check the requirements of the readers."""
        require(self.name, ("sklearn",))
        for reader in self._readers(settings).values():
            reader.check(settings)

    def try_run(self, settings: Settings) -> list[str]:
        """Try the readers."""
        return [line for reader in self._readers(settings).values() for line in reader.try_run(settings)]

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> AuxiliaryStackingClassifier:
        """Fit the readers on the other label sets, fold by fold, then a regression on their predictions for ``train``.

        Raises:
            ConfigurationError: see :meth:`fit_auxiliary_models`.
        """
        return self.fit_on(self.fit_auxiliary_models(run), train, validation, run)

    def fit_auxiliary_models(self, run: FitContext) -> AuxiliaryModels:
        """Return fitted models of every auxiliary label set.

        Raises:
            ConfigurationError: there is no other label set.
        """
        if not run.also:
            raise ConfigurationError(
                "auxiliary-stacking learns from other labels. Name some: --auxiliary-labels LABELS, any number of times"
            )
        readers = self._readers(run.settings)
        jobs = [(labels, name) for labels in run.also for name in readers]
        return {
            f"{labels}:{name}": self._fit_folds(
                readers[name],
                run.also[labels],
                part_of(run, f"{labels}-{name}", 0.95 * n / len(jobs), 0.95 / len(jobs)),
            )
            for n, (labels, name) in enumerate(jobs)
        }

    def fit_on(
        self, fitted: AuxiliaryModels, train: Examples, validation: Examples, run: FitContext
    ) -> AuxiliaryStackingClassifier:
        """Fit the regression on the predictions of ``fitted``, from :meth:`fit_auxiliary_models`, for ``train``."""
        run.progress(0.95, "fitting the regression on their predictions")
        predictions = {
            key: (self._out_of_fold(models, train, run.seed), _mean(models, validation))
            for key, models in fitted.items()
        }
        training, held_out = (
            _on_predictions(rows, {k: v[n] for k, v in predictions.items()}, features=self.features)
            for n, rows in enumerate((train, validation))
        )
        last = fit_prior_regression(training, held_out, _namesakes(train.segments, run.also), self.ridges, run.seed)
        facts = {"features": self.features, "order": list(fitted)}
        report = {"foreseen": list(run.also), "readers": self.readers, "folds": self.folds, "last": last.report}
        return AuxiliaryStackingClassifier(fitted, last, facts, report)

    def load(self, folder: Path, settings: Settings) -> AuxiliaryStackingClassifier:
        """Read all models from ``folder``."""
        stored = json.loads((folder / _FILE).read_text())
        readers = self._readers(settings)
        fitted = {
            key: [
                load_fitted(readers[key.rpartition(":")[2]], folder / f"{n}-{fold}", settings)
                for fold in range(stored["folds"])
            ]
            for n, key in enumerate(stored["facts"]["order"])
        }
        return AuxiliaryStackingClassifier(
            fitted, Linear().load(folder / "last", settings), stored["facts"], stored["report"]
        )

    def _readers(self, settings: Settings) -> dict[str, Backbone]:
        plugins = load_plugins(settings)
        resolved = {name: resolve_backbone(plugins, name, self.reader_options) for name in self.readers}
        if not resolved or self.name in {name for name, _ in resolved.values()}:
            raise ConfigurationError(
                f"readers={','.join(self.readers)!r} names no backbones that could. Write readers=tabular,linear"
            )
        return {name: plugins.make("backbone", *name_and_options) for name, name_and_options in resolved.items()}

    def _fit_folds(self, reader: Backbone, rows: Examples, run: FitContext) -> list[Classifier]:
        """Return a model for each fold, trained without the users of that fold."""
        users = rows.frame["user_key"].to_numpy()
        fold, stops = fold_of(users, self.folds, run.seed), draw(users, run.seed + 3) < _HELD_OUT
        models = []
        for n in range(self.folds):
            outside = fold != n
            part = part_of(run, f"fold{n}", n / self.folds, 1 / self.folds)
            models.append(
                reader.fit(rows_of(rows, outside & ~stops), rows_of(rows, outside & stops), replace(part, also={}))
            )
        return models

    def _out_of_fold(self, models: list[Classifier], rows: Examples, seed: int) -> NDArray[np.float32]:
        """Return the prediction for every row by the model that was trained without its user."""
        import numpy as np

        fold = fold_of(rows.frame["user_key"].to_numpy(), self.folds, seed)
        predictions = [model.predict(rows) for model in models]
        unseen: NDArray[np.float32] = np.stack(predictions)[fold, np.arange(len(rows))]
        return unseen


class AuxiliaryStackingClassifier(Classifier):
    """The fitted readers and the regression on their predictions."""

    def __init__(
        self, fitted: AuxiliaryModels, last: Classifier, facts: dict[str, Any], report: dict[str, Any]
    ) -> None:
        self._fitted, self._last, self._facts, self.report = fitted, last, facts, report

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment."""
        predictions = {}
        for n, (key, models) in enumerate(self._fitted.items()):
            predictions[key] = _mean(models, examples)
            progress((n + 1) / len(self._fitted), f"{key}: {len(examples)} users read")
        return self._last.predict(_on_predictions(examples, predictions, features=self._facts["features"]))

    def save(self, folder: Path) -> None:
        """Write each model to its own folder."""
        for n, models in enumerate(self._fitted.values()):
            for fold, model in enumerate(models):
                model.save(folder / f"{n}-{fold}")
        self._save_last(folder)

    def export(self, folder: Path) -> None:
        """Write each model to its own folder, with everything that it needs."""
        for n, models in enumerate(self._fitted.values()):
            for fold, model in enumerate(models):
                model.export(folder / f"{n}-{fold}")
        self._save_last(folder)

    def _save_last(self, folder: Path) -> None:
        self._last.save(folder / "last")
        folds = len(next(iter(self._fitted.values())))
        stored = {"facts": self._facts, "folds": folds, "report": self.report}
        (folder / _FILE).write_text(json.dumps(stored, ensure_ascii=False, indent=2))


def _mean(models: list[Classifier], rows: Examples) -> NDArray[np.float32]:
    """Return the mean prediction of the models."""
    import numpy as np

    mean: NDArray[np.float32] = np.mean([model.predict(rows) for model in models], axis=0, dtype=np.float32)
    return mean


def _namesakes(segments: tuple[str, ...], also: Mapping[str, Examples]) -> list[list[str | None]]:
    """Return, for each label set, the features with the probabilities of the namesakes of ``segments``."""
    groups = []
    for key, rows in also.items():
        names = [name.casefold() for name in rows.segments]
        indices = [names.index(name.casefold()) if name.casefold() in names else None for name in segments]
        if any(index is not None for index in indices):
            groups.append([None if index is None else f"{key}:{index}" for index in indices])
    return groups


def _on_predictions(rows: Examples, predictions: Mapping[str, NDArray[np.float32]], *, features: bool) -> Examples:
    """Return ``rows`` with the predictions as features, in addition to their own or instead of them."""
    import numpy as np
    import polars as pl

    if not features:
        blank = pl.Series("features", [[]] * len(rows), dtype=pl.List(pl.Float32))
        rows = replace(rows, frame=rows.frame.with_columns(blank), feature_names=())
    sets: dict[str, list[NDArray[np.float32]]] = {}
    for key, probabilities in predictions.items():
        sets.setdefault(key.rpartition(":")[0], []).append(probabilities)
    for labels, each in sets.items():
        rows = with_predictions(rows, np.mean(each, axis=0), [f"{labels}:{n}" for n in range(each[0].shape[1])])
    return rows
