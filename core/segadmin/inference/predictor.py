"""Predicts segments from users' texts and features.

Evaluation, the gate, scoring and explanations all use a :class:`Predictor`, so that a user gets the same prediction
everywhere.
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
from segadmin.files import inside
from segadmin.inference.clipping import Limits
from segadmin.inference.warm_models import WarmModels
from segadmin.models.artifact import Saved, load_classifier
from segadmin.models.manifest import ModelManifest
from segadmin.settings import Settings
from segadmin.storage.records import ModelVersion
from segadmin.text.features import feature_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[float, str], None]
_GIB = 2**30


@dataclass(frozen=True)
class Predictor:
    """A fitted model with everything that was fitted on training and validation rows.

    The steps of a prediction: features are clipped, the model reads text and features, its logits are divided by the
    temperature, the policy replaces probabilities by the prior for short histories (cold start), and users below the
    thresholds stay unassigned.
    """

    classifier: Classifier
    manifest: ModelManifest

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments, in the order of the probabilities."""
        return self.manifest.segments

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return feature_names(self.manifest.recipe)

    def examples(self, users: pl.DataFrame) -> Examples:
        """Return users (``phrases``, ``features``, …) as the model reads them."""
        return Examples(users, self.segments, self.features)

    def model_probabilities(self, examples: Examples, progress: Progress = no_progress) -> NDArray[np.float64]:
        """Return the raw probabilities of the model: neither calibrated nor corrected for short histories.

        Raises:
            PluginContractError: the classifier did not return probabilities.
        """
        limits = Limits.from_json(self.manifest.feature_limits)
        return predict(self.classifier, limits.clip(examples), progress=progress)

    def finish(self, raw: NDArray[np.float64], examples: Examples) -> NDArray[np.float64]:
        """Return the final probabilities from the raw ones of the model."""
        calibrated = scaled(raw, self.manifest.calibration.temperature)
        return apply_policy(calibrated, examples, self.manifest.policy)

    def probabilities(self, examples: Examples, progress: Progress = no_progress) -> NDArray[np.float64]:
        """Return the probability of every segment, ``(n_rows, n_segments)``, rows summing to 1.

        Raises:
            PluginContractError: the classifier did not return probabilities.
        """
        return self.finish(self.model_probabilities(examples, progress), examples)

    def segment(self, users: pl.DataFrame, progress: Progress = no_progress) -> pl.DataFrame:
        """Return the segment of every user.

        Args:
            users: as :func:`segadmin.text.reader.read_users` returns them.
            progress: called with the fraction done and a short note.

        Returns:
            ``segment`` (null if unassigned), ``probability`` of the most probable one, and ``probabilities``
            (List[Float32]), one row per user, in the order of ``users``.

        Raises:
            PluginContractError: the classifier did not return probabilities.
        """
        examples = self.examples(users)
        values = self.probabilities(examples, progress)
        assigned = pl.Series(assigned_mask(values, events_of(examples), self.manifest.thresholds))
        probabilities = pl.Series("probabilities", values.astype("float32").tolist(), dtype=pl.List(pl.Float32))
        return pl.DataFrame([*likeliest(probabilities, self.segments, assigned), probabilities])


def likeliest(probabilities: pl.Series, segments: Sequence[str], assigned: pl.Series | None = None) -> list[pl.Series]:
    """Return the most probable ``segment`` of every row of ``probabilities`` (List[Float32]), and its ``probability``.

    The segment is null for rows that are not ``assigned``.
    """
    names = pl.Series(segments, dtype=pl.String).gather(probabilities.list.arg_max())
    if assigned is not None:
        names = names.set(~assigned, None)
    return [names.alias("segment"), probabilities.list.max().alias("probability")]


_warm: WarmModels[Predictor] = WarmModels()


def load_predictor(settings: Settings, plugins: Plugins, model: ModelVersion | Saved) -> Predictor:
    """Return a model version, loaded now or before in this process.

    Raises:
        StorageError: its folder is missing or damaged.
        PluginNotFound: its backbone is not installed.
    """
    saved = Saved(model.folder, model.sha256)

    def load() -> Predictor:
        return Predictor(*load_classifier(settings, plugins, saved))

    folder, most = inside(settings.store_path, saved.folder), int(settings.warm_models_gib * _GIB)
    return _warm.get(folder, most, (saved.sha256, settings, plugins), load)


def forget_models() -> None:
    """Unload the models that are kept, before work that needs the memory."""
    _warm.clear()
