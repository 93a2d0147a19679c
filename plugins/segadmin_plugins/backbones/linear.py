"""``linear``: logistic regression on the features alone; hard to beat if users are few."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, no_progress
from segadmin.errors import DataError
from segadmin.settings import Settings
from segadmin_plugins.backbones.requirements import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segadmin_plugins.backbones.features.scaling import Scaling


@dataclass(frozen=True)
class Linear(Backbone):
    """Logistic regression on squashed, standardised features; reads no text."""

    name: ClassVar[str] = "linear"

    strengths: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)  #: inverse regularisation; chosen on validation

    def check(self, settings: Settings) -> None:
        """Check that scikit-learn is installed."""
        require(self.name, ("sklearn",))

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> LinearClassifier:
        """Fit a regression for each strength and keep the best on ``validation``.

        Raises:
            DataError: there are users of one segment only, or no strength to try.
        """
        from sklearn.linear_model import LogisticRegression

        from segadmin.evaluation.metrics import log_loss
        from segadmin_plugins.backbones.features.matrix import features_of, scaled_features
        from segadmin_plugins.backbones.features.scaling import Scaling
        from segadmin_plugins.backbones.numbers import rows_of_all_segments

        if not self.strengths or train.frame["target"].n_unique() < 2:
            raise DataError(
                "There are no two segments to distinguish. Give labels of two segments, and a strength such as 0.1."
            )
        scaling = Scaling.fit(train.feature_names, features_of(train, train.feature_names))
        held_out = validation if len(validation) else train
        x = scaled_features(train, scaling)
        candidates = []
        for n, strength in enumerate(self.strengths):
            model = LogisticRegression(C=strength, max_iter=1000).fit(x, train.targets)
            weights, bias = rows_of_all_segments(model, len(train.segments))
            classifier = LinearClassifier(scaling, weights, bias, {"strength": strength})
            loss = classifier.report["validation_log_loss"] = log_loss(classifier.predict(held_out), held_out.targets)
            candidates.append((loss, n, classifier))
            run.progress((n + 1) / len(self.strengths), f"strength {strength}: validation log-loss {loss:.4f}")
        return min(candidates)[2]

    def load(self, folder: Path, settings: Settings) -> LinearClassifier:
        """Read the coefficients from ``folder``."""
        import numpy as np

        from segadmin_plugins.backbones.features.scaling import Scaling

        stored = json.loads((folder / "linear.json").read_text())
        weights, bias = (np.asarray(stored[name], np.float32) for name in ("weights", "bias"))
        return LinearClassifier(Scaling.from_json(stored["scaling"]), weights, bias, stored["report"])


class LinearClassifier(Classifier):
    """A fitted regression."""

    def __init__(
        self, scaling: Scaling, weights: NDArray[np.float32], bias: NDArray[np.float32], report: dict[str, Any]
    ) -> None:
        self._scaling, self._weights, self._bias, self.report = scaling, weights, bias, report

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment."""
        from segadmin_plugins.backbones.features.matrix import scaled_features
        from segadmin_plugins.backbones.numbers import softmax

        probabilities = softmax(scaled_features(examples, self._scaling) @ self._weights.T + self._bias)
        progress(1.0, f"{len(examples)} users scored")
        return probabilities

    def save(self, folder: Path) -> None:
        """Write the model as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = {
            "scaling": self._scaling.to_json(),
            "weights": self._weights.tolist(),
            "bias": self._bias.tolist(),
            "report": self.report,
        }
        (folder / "linear.json").write_text(json.dumps(stored, ensure_ascii=False))
