"""From a user's text and features to a segment: the one place that knows how.

Evaluation, the gate, scoring and explanations all go through a :class:`Predictor`, so the same user gets the same
answer everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from segadmin.contracts.backbone import Classifier, Examples, no_progress
from segadmin.contracts.plugins import Plugins
from segadmin.evaluation.abstention import apply_policy, assigned_mask, events_of
from segadmin.evaluation.calibration import predict, scaled
from segadmin.inference.clipping import Limits
from segadmin.models.artifact import Saved, load_classifier
from segadmin.models.manifest import ModelManifest
from segadmin.settings import Settings
from segadmin.storage.records import ModelVersion
from segadmin.text.features import feature_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Predictor:
    """A fitted model with all that was decided on training and validation rows.

    In order: features are clipped, the model reads text and features, its logits are divided by the temperature,
    what is common is given where the policy says so (cold start), and whoever the model is not sure enough of is in no
    segment (thresholds).
    """

    classifier: Classifier
    manifest: ModelManifest

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments, in the order of the probabilities."""
        return self.manifest.segments

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features that it reads, in order."""
        return feature_names(self.manifest.recipe)

    def examples(self, users: pl.DataFrame) -> Examples:
        """Return users (``phrases``, ``features``, …) as the model reads them."""
        return Examples(users, self.segments, self.features)

    def model_probabilities(self, examples: Examples, progress: Progress = no_progress) -> NDArray[np.float64]:
        """Return what the model alone gives: neither calibrated nor corrected for short histories.

        Raises:
            PluginContractError: the classifier returned something else than probabilities.
        """
        limits = Limits.from_json(self.manifest.feature_limits)
        return predict(self.classifier, limits.clip(examples), progress=progress)

    def finish(self, raw: NDArray[np.float64], examples: Examples) -> NDArray[np.float64]:
        """Return the probabilities that users get, from those of the model alone."""
        calibrated = scaled(raw, self.manifest.calibration.temperature)
        return apply_policy(calibrated, examples, self.manifest.policy)

    def probabilities(self, examples: Examples, progress: Progress = no_progress) -> NDArray[np.float64]:
        """Return the probability of every segment, ``(n_rows, n_segments)``, rows summing to 1.

        Raises:
            PluginContractError: the classifier returned something else than probabilities.
        """
        return self.finish(self.model_probabilities(examples, progress), examples)

    def segment(self, users: pl.DataFrame, progress: Progress = no_progress) -> pl.DataFrame:
        """Return the segment of every user.

        Args:
            users: as :func:`segadmin.text.reader.read_users` returns them.
            progress: called with the fraction done and a few words.

        Returns:
            ``segment`` (null where the user is in none), ``probability`` of the likeliest one, and ``probabilities``
            (List[Float32]), a row for each of ``users``, in their order.

        Raises:
            PluginContractError: the classifier returned something else than probabilities.
        """
        examples = self.examples(users)
        found = self.probabilities(examples, progress)
        sure = pl.Series(assigned_mask(found, events_of(examples), self.manifest.thresholds))
        probabilities = pl.Series("probabilities", found.astype("float32").tolist(), dtype=pl.List(pl.Float32))
        return pl.DataFrame([*likeliest(probabilities, self.segments, sure), probabilities])


def likeliest(probabilities: pl.Series, segments: Sequence[str], sure: pl.Series | None = None) -> list[pl.Series]:
    """Return the likeliest ``segment`` of every row of ``probabilities`` (List[Float32]), and its ``probability``.

    Where ``sure`` is false, the segment is null.
    """
    names = pl.Series(segments, dtype=pl.String).gather(probabilities.list.arg_max())
    if sure is not None:
        names = names.set(~sure, None)
    return [names.alias("segment"), probabilities.list.max().alias("probability")]


def load_predictor(settings: Settings, plugins: Plugins, model: ModelVersion | Saved) -> Predictor:
    """Return a model version, ready to use.

    Raises:
        StorageError: its folder is gone or is not what was saved.
        PluginNotFound: its backbone is not installed here.
    """
    saved = Saved(model.folder, model.sha256)
    return Predictor(*load_classifier(settings, plugins, saved))
