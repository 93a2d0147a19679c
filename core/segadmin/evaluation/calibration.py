"""Probabilities that mean what they say: checked, and scaled by a temperature found on validation users."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Classifier, Examples, no_progress
from segadmin.errors import PluginContractError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Few validation users must not make a model infinitely sure, or know nothing at all.
_LOWEST, _HIGHEST = 0.1, 10.0


def predict(
    classifier: Classifier,
    examples: Examples,
    temperature: float = 1.0,
    progress: Callable[[float, str], None] = no_progress,
) -> NDArray[np.float64]:
    """Return the calibrated probabilities, ``(n_rows, n_segments)``, rows summing to 1.

    Raises:
        PluginContractError: the classifier returned something else than probabilities.
    """
    import numpy as np

    found = np.asarray(classifier.predict(examples, progress), dtype=np.float64)
    what = f"{type(classifier).__module__}.{type(classifier).__name__}.predict"
    expected = (len(examples), len(examples.segments))
    if found.shape != expected:
        raise PluginContractError(f"{what} returned the shape {found.shape}, not {expected}: (users, segments).")
    if not np.isfinite(found).all() or (found < 0).any() or (np.abs(found.sum(axis=1) - 1) > 1e-3).any():
        raise PluginContractError(f"{what} returned numbers that are no probabilities: rows must sum to 1.")
    return scaled(found, temperature)


def scaled(probabilities: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Return ``softmax(log(probabilities) / temperature)``: above 1 it makes a model less sure of itself."""
    import numpy as np

    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scaled


def fit_temperature(probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int64]) -> float:
    """Return the temperature with the lowest log-loss on ``targets``, between 0.1 and 10; 1 without any rows.

    Temperature scaling is from Guo, Pleiss, Sun and Weinberger: On Calibration of Modern Neural Networks. ICML
    2017. In the inverse temperature the log-loss is convex, so bisection on its slope finds the minimum.
    """
    import numpy as np

    if not len(targets):
        return 1.0
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, None))
    of_target = logits[np.arange(len(targets)), targets].mean()

    def slope(inverse: float) -> float:
        return float((scaled(probabilities, 1 / inverse) * logits).sum(axis=1).mean() - of_target)

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 2 / (low + high)
