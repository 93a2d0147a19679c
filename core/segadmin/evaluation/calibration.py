"""Calibration: checks probabilities and scales them by a temperature fitted on validation users."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from segadmin.contracts.backbone import Classifier, Examples, no_progress
from segadmin.errors import PluginContractError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Bounds of the temperature, so that few validation users cannot make probabilities degenerate.
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.1, 10.0


def predict(
    classifier: Classifier,
    examples: Examples,
    temperature: float = 1.0,
    progress: Callable[[float, str], None] = no_progress,
) -> NDArray[np.float64]:
    """Return the calibrated probabilities, ``(n_rows, n_segments)``, rows summing to 1.

    Raises:
        PluginContractError: the classifier did not return probabilities.
    """
    import numpy as np

    probabilities = np.asarray(classifier.predict(examples, progress), dtype=np.float64)
    method = f"{type(classifier).__module__}.{type(classifier).__name__}.predict"
    expected = (len(examples), len(examples.segments))
    if probabilities.shape != expected:
        raise PluginContractError(
            f"{method} returned the shape {probabilities.shape}, not {expected}: (users, segments)."
        )
    if (
        not np.isfinite(probabilities).all()
        or (probabilities < 0).any()
        or (np.abs(probabilities.sum(axis=1) - 1) > 1e-3).any()
    ):
        raise PluginContractError(f"{method} returned numbers that are not probabilities: rows must sum to 1.")
    return scaled(probabilities, temperature)


def scaled(probabilities: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Return ``softmax(log(probabilities) / temperature)``: a temperature above 1 makes a model less confident."""
    import numpy as np

    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scaled


def fit_temperature(probabilities: NDArray[np.floating[Any]], targets: NDArray[np.int64]) -> float:
    """Return the temperature with the lowest log-loss on ``targets``, between 0.1 and 10; 1 without rows.

    Temperature scaling is from Guo, Pleiss, Sun and Weinberger: On Calibration of Modern Neural Networks. ICML
    2017. The log-loss is convex in the inverse temperature, so bisection on its slope finds the minimum.
    """
    import numpy as np

    if not len(targets):
        return 1.0
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, None))
    of_target = logits[np.arange(len(targets)), targets].mean()

    def slope(inverse: float) -> float:
        return float((scaled(probabilities, 1 / inverse) * logits).sum(axis=1).mean() - of_target)

    low, high = 1 / _MAX_TEMPERATURE, 1 / _MIN_TEMPERATURE
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 2 / (low + high)
