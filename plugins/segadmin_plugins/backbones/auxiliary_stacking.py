"""``auxiliary-stacking``: for few labels, a regression on what models of other label sets predict."""

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
from segadmin_plugins.backbones.linear import Linear
from segadmin_plugins.backbones.prior_regression import fit_prior_regression
from segadmin_plugins.backbones.requirements import require
from segadmin_plugins.backbones.stacked import part_of, rows_of, with_told
from segadmin_plugins.options import Names, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The file beside the models; its name is that of the backbone before it was renamed.
_FILE = "foresight.json"
#: Models by ``labels:reader``, one for each fold of the users.
AuxiliaryModels = dict[str, list[Classifier]]
#: Fraction of the users of an auxiliary label set held out to stop early.
_HELD_OUT = 0.15


@dataclass(frozen=True, kw_only=True)
class AuxiliaryStacking(Backbone):
    """A regression on what models of other label sets (``--auxiliary-labels``) predict.

    Labels that come from behaviour itself are there for every user, so models of them are good; what counts is then a
    matter of few weights: fewest where a segment there has the name of one here, whatever the case of its letters.
    What is said of a labelled user comes from models that had not learnt from that user.
    """

    name: ClassVar[str] = "auxiliary-stacking"
    supports_auxiliary_tasks: ClassVar[bool] = True

    readers: Names = ("tabular", "linear")  #: the backbones that learn the other label sets
    reader_options: Table = field(default_factory=dict)  #: options of all of them, such as ``epochs=1``
    folds: Annotated[int, Field(ge=2, le=20)] = 3
    features: bool = False  #: read the features themselves too
    #: strengths of ridge on what is not of the same name; held-out users choose
    ridges: tuple[float, ...] = (10_000.0, 1000.0, 300.0, 100.0, 30.0, 10.0)

    def check(self, settings: Settings) -> None:
        """Check what the readers need."""
        require(self.name, ("sklearn",))
        for reader in self._readers(settings).values():
            reader.check(settings)

    def try_run(self, settings: Settings) -> list[str]:
        """Try the readers."""
        return [line for reader in self._readers(settings).values() for line in reader.try_run(settings)]

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> AuxiliaryStackingClassifier:
        """Fit the readers on the other label sets, fold by fold, then a regression on what they say of ``train``.

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
            f"{labels}:{name}": self._of_folds(
                readers[name],
                run.also[labels],
                part_of(run, f"{labels}-{name}", 0.95 * n / len(jobs), 0.95 / len(jobs)),
            )
            for n, (labels, name) in enumerate(jobs)
        }

    def fit_on(
        self, fitted: AuxiliaryModels, train: Examples, validation: Examples, run: FitContext
    ) -> AuxiliaryStackingClassifier:
        """Fit the regression on what the ``fitted`` models, of :meth:`fit_auxiliary_models`, predict of ``train``."""
        run.progress(0.95, "fitting the regression on their predictions")
        told = {
            key: (self._unseen(models, train, run.seed), _mean(models, validation)) for key, models in fitted.items()
        }
        learnt, held_out = (
            _built_on(rows, {k: v[n] for k, v in told.items()}, features=self.features)
            for n, rows in enumerate((train, validation))
        )
        last = fit_prior_regression(learnt, held_out, _namesakes(train.segments, run.also), self.ridges, run.seed)
        facts = {"features": self.features, "order": list(fitted)}
        report = {"foreseen": list(run.also), "readers": self.readers, "folds": self.folds, "last": last.report}
        return AuxiliaryStackingClassifier(fitted, last, facts, report)

    def load(self, folder: Path, settings: Settings) -> AuxiliaryStackingClassifier:
        """Read all models from ``folder``."""
        kept = json.loads((folder / _FILE).read_text())
        readers = self._readers(settings)
        fitted = {
            key: [
                load_fitted(readers[key.rpartition(":")[2]], folder / f"{n}-{fold}", settings)
                for fold in range(kept["folds"])
            ]
            for n, key in enumerate(kept["facts"]["order"])
        }
        return AuxiliaryStackingClassifier(
            fitted, Linear().load(folder / "last", settings), kept["facts"], kept["report"]
        )

    def _readers(self, settings: Settings) -> dict[str, Backbone]:
        plugins = load_plugins(settings)
        resolved = {name: resolve_backbone(plugins, name, self.reader_options) for name in self.readers}
        if not resolved or self.name in {name for name, _ in resolved.values()}:
            raise ConfigurationError(
                f"readers={','.join(self.readers)!r} names no backbones that could. Write readers=tabular,linear"
            )
        return {name: plugins.make("backbone", *one) for name, one in resolved.items()}

    def _of_folds(self, reader: Backbone, rows: Examples, run: FitContext) -> list[Classifier]:
        """Return a model for each fold, which has not seen that fold's users."""
        users = rows.frame["user_key"].to_numpy()
        fold, stops = fold_of(users, self.folds, run.seed), draw(users, run.seed + 3) < _HELD_OUT
        found = []
        for n in range(self.folds):
            outside = fold != n
            part = part_of(run, f"fold{n}", n / self.folds, 1 / self.folds)
            found.append(
                reader.fit(rows_of(rows, outside & ~stops), rows_of(rows, outside & stops), replace(part, also={}))
            )
        return found

    def _unseen(self, models: list[Classifier], rows: Examples, seed: int) -> NDArray[np.float32]:
        """Return what is said of every row by the model that has not seen its user."""
        import numpy as np

        fold = fold_of(rows.frame["user_key"].to_numpy(), self.folds, seed)
        said = [model.predict(rows) for model in models]
        unseen: NDArray[np.float32] = np.stack(said)[fold, np.arange(len(rows))]
        return unseen


class AuxiliaryStackingClassifier(Classifier):
    """The fitted readers, and the regression on what they say."""

    def __init__(
        self, fitted: AuxiliaryModels, last: Classifier, facts: dict[str, Any], report: dict[str, Any]
    ) -> None:
        self._fitted, self._last, self._facts, self.report = fitted, last, facts, report

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment."""
        told = {}
        for n, (key, models) in enumerate(self._fitted.items()):
            told[key] = _mean(models, examples)
            progress((n + 1) / len(self._fitted), f"{key}: {len(examples)} users read")
        return self._last.predict(_built_on(examples, told, features=self._facts["features"]))

    def save(self, folder: Path) -> None:
        """Write each model into a folder of its own."""
        for n, models in enumerate(self._fitted.values()):
            for fold, model in enumerate(models):
                model.save(folder / f"{n}-{fold}")
        self._save_last(folder)

    def export(self, folder: Path) -> None:
        """Write each model into a folder of its own, with all that it needs."""
        for n, models in enumerate(self._fitted.values()):
            for fold, model in enumerate(models):
                model.export(folder / f"{n}-{fold}")
        self._save_last(folder)

    def _save_last(self, folder: Path) -> None:
        self._last.save(folder / "last")
        folds = len(next(iter(self._fitted.values())))
        kept = {"facts": self._facts, "folds": folds, "report": self.report}
        (folder / _FILE).write_text(json.dumps(kept, ensure_ascii=False, indent=2))


def _mean(models: list[Classifier], rows: Examples) -> NDArray[np.float32]:
    """Return the mean of what the models say."""
    import numpy as np

    found: NDArray[np.float32] = np.mean([model.predict(rows) for model in models], axis=0, dtype=np.float32)
    return found


def _namesakes(segments: tuple[str, ...], also: Mapping[str, Examples]) -> list[list[str | None]]:
    """Return, for each label set, the features that say how likely the namesakes of ``segments`` are."""
    found = []
    for key, rows in also.items():
        there = [name.casefold() for name in rows.segments]
        alike = [there.index(name.casefold()) if name.casefold() in there else None for name in segments]
        if any(place is not None for place in alike):
            found.append([None if place is None else f"{key}:{place}" for place in alike])
    return found


def _built_on(rows: Examples, told: Mapping[str, NDArray[np.float32]], *, features: bool) -> Examples:
    """Return ``rows`` with what is told of them as features, beside their own or instead of them."""
    import numpy as np
    import polars as pl

    if not features:
        blank = pl.Series("features", [[]] * len(rows), dtype=pl.List(pl.Float32))
        rows = replace(rows, frame=rows.frame.with_columns(blank), feature_names=())
    sets: dict[str, list[NDArray[np.float32]]] = {}
    for key, said in told.items():
        sets.setdefault(key.rpartition(":")[0], []).append(said)
    for labels, each in sets.items():
        rows = with_told(rows, np.mean(each, axis=0), [f"{labels}:{n}" for n in range(each[0].shape[1])])
    return rows
