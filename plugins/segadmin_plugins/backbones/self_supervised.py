"""``self-supervised``: for few labels, a regression on what a user is predicted to do, learnt from unlabelled users."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from segadmin.contracts.backbone import Backbone, Examples, FitContext, UnlabelledUsers
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin_plugins.backbones.linear import Linear, LinearClassifier
from segadmin_plugins.backbones.requirements import require
from segadmin_plugins.options import Names, Numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segadmin_plugins.backbones.features.scaling import Scaling

#: Minimum fraction of users who do, and who do not, for whether they do to be a target.
_RARE = 0.01


@dataclass(frozen=True, kw_only=True)
class SelfSupervised(Backbone):
    """Logistic regression on predicted behaviour, for a dozen to a few hundred labelled users; reads no text.

    What all users did after earlier cut-offs (spend, visits, shares of categories and brands, …: every feature of that
    time, and whether it is above 0) is predicted from their features by ridge regression. The principal components of
    these predictions are the representation in which few labels are learnt. A feature with the name of a segment, such
    as the share of the department DELI for a segment DELI, is a prior for it.
    """

    name: ClassVar[str] = "self-supervised"
    uses_unlabelled_users: ClassVar[bool] = True

    dimensions: Annotated[int, Field(ge=1, le=512)] = 24  #: numbers of the representation
    penalty: Annotated[float, Field(ge=1e-6, le=1e12)] = 1000.0  #: ridge strength of the predictions of behaviour
    #: ridge strengths of the regression on the labels; chosen on held-out users
    ridges: Numbers = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
    namesakes: bool = True  #: whether features with the names of segments are a prior
    leave_out: Names = ()  #: outcomes that are not learnt from, as patterns such as ``spend*,share:*``

    def check(self, settings: Settings) -> None:
        """Check that SciPy is installed, and that there is a strength to try."""
        require(self.name, ("scipy", "sklearn"))
        if not self.ridges:
            raise ConfigurationError("ridges is empty, so there is no regression to fit. Give at least one, such as 30")

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> LinearClassifier:
        """Learn the representation from unlabelled users, then the regression from ``train``.

        All steps are linear in the scaled features, so their product is a single regression.

        Raises:
            ConfigurationError: there are no unlabelled users, or no outcomes.
        """
        import numpy as np

        from segadmin_plugins.backbones.features.matrix import scaled_features
        from segadmin_plugins.backbones.prior_regression import Rows, fit_with_prior

        if run.unlabelled is None:
            raise ConfigurationError(
                "self-supervised needs unlabelled users, which a baseline or a part of another backbone "
                "does not get. Train it as the model: --backbone self-supervised"
            )
        run.progress(0.0, f"predicting the behaviour of {len(run.unlabelled.users):,} rows of unlabelled users")
        scaling, encoder, n_targets = self.representation(run.unlabelled)
        run.progress(0.5, "fitting the regression on the predictions")
        groups = namesakes(train) if self.namesakes else []
        named = sorted({column for group in groups for column in group if column is not None})
        directions = np.concatenate([np.eye(len(encoder))[:, named], encoder], axis=1)
        places = [[None if column is None else named.index(column) for column in group] for group in groups]
        rows, held_out = (
            Rows(scaled_features(part, scaling).astype(np.float64) @ directions, part) for part in (train, validation)
        )
        weights, bias, report = fit_with_prior(rows, held_out, places, self.ridges, run.seed)
        report |= {"unlabelled_rows": len(run.unlabelled.users), "targets": n_targets, "dimensions": encoder.shape[1]}
        return LinearClassifier(scaling, (weights @ directions.T).astype(np.float32), bias, report)

    def representation(self, unlabelled: UnlabelledUsers) -> tuple[Scaling, NDArray[np.float64], int]:
        """Return the scaling of the features, the map to the representation, and the number of targets.

        The map is ``(n_columns, dimensions) float64``; the first number of the representation has deviation 1.

        Raises:
            ConfigurationError: no outcome that varies is left.
        """
        import numpy as np

        from segadmin_plugins.backbones.features.matrix import features_of, scaled_features
        from segadmin_plugins.backbones.features.scaling import Scaling

        users, targets = unlabelled.users, self._targets(unlabelled)
        scaling = Scaling.fit(users.feature_names, features_of(users, users.feature_names))
        x = scaled_features(users, scaling).astype(np.float64)
        centred = x - x.mean(axis=0)
        gram = centred.T @ centred
        penalised = gram + self.penalty * np.eye(len(gram))
        coefficients = np.linalg.solve(penalised, centred.T @ targets)
        # The principal components of the predictions, from their covariance.
        variances, axes = np.linalg.eigh(coefficients.T @ gram @ coefficients / len(x))
        largest = axes[:, ::-1][:, : self.dimensions]
        return scaling, coefficients @ largest / np.sqrt(max(variances[-1], 1e-12)), targets.shape[1]

    def _targets(self, unlabelled: UnlabelledUsers) -> NDArray[np.float64]:
        """Return each outcome, scaled, and whether it is above 0, ``(n_rows, n_targets)``, standardised.

        Raises:
            ConfigurationError: no outcome that varies is left.
        """
        import numpy as np

        from segadmin_plugins.backbones.features.scaling import Scaling

        outcomes = np.nan_to_num(unlabelled.outcomes, nan=0.0)
        chosen = [not any(fnmatchcase(name, p) for p in self.leave_out) for name in unlabelled.outcome_names]
        values = outcomes[:, np.asarray(chosen) & (outcomes.std(axis=0) > 0)]
        if not values.shape[1]:
            raise ConfigurationError(
                f"No outcome of the unlabelled users varies that leave_out={','.join(self.leave_out)} keeps. "
                "Leave out fewer"
            )
        names = tuple(map(str, range(values.shape[1])))
        scaled = Scaling.fit(names, values)(values).astype(np.float64)
        happened = (values > 0).astype(np.float64)
        share = happened.mean(axis=0)
        sometimes = (share > _RARE) & (share < 1 - _RARE)
        deviations = (happened - share)[:, sometimes] / np.sqrt(share * (1 - share))[sometimes]
        return np.concatenate([scaled - scaled.mean(axis=0), deviations], axis=1)

    def load(self, folder: Path, settings: Settings) -> LinearClassifier:
        """Read the coefficients from ``folder``."""
        return Linear().load(folder, settings)


def namesakes(rows: Examples) -> list[list[int | None]]:
    """Return, for each kind of feature, the columns of the namesakes of the segments, such as ``share:DELI``."""
    names = [segment.casefold() for segment in rows.segments]
    groups: dict[str, list[int | None]] = {}
    for column, feature in enumerate(rows.feature_names):
        kind, sign, value = feature.rpartition(":")
        if sign and value.casefold() in names:
            groups.setdefault(kind, [None] * len(names))[names.index(value.casefold())] = column
    return list(groups.values())
