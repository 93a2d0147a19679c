"""Features of users as a matrix, in the order of the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from segadmin.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from segadmin.contracts.backbone import Examples
    from segadmin_plugins.backbones.features.scaling import Scaling


def features_of(examples: Examples, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the features called ``names``, in that order, ``(n_rows, len(names)) float32``; infinities are NaN.

    Raises:
        DataError: the examples lack a feature that the model was fitted on.
    """
    lacking = [name for name in names if name not in examples.feature_names]
    if lacking:
        raise DataError(
            f"The model was fitted on the features {', '.join(lacking)}, which these users lack. "
            "Textualize them with the model's own recipe."
        )
    if not names:
        return np.empty((len(examples), 0), np.float32)
    order = [examples.feature_names.index(name) for name in names]
    values = examples.features[:, order].astype(np.float32)
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def scaled_features(examples: Examples, scaling: Scaling) -> NDArray[np.float32]:
    """Return the scaled features, and 1 if a user has any feature: ``(n_rows, n_features + 1) float32``."""
    values = features_of(examples, scaling.names)
    anything_known = np.isfinite(values).any(axis=1, keepdims=True)
    return np.concatenate([scaling(values), anything_known], axis=1).astype(np.float32)
