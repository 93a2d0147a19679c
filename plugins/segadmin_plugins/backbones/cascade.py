"""``cascade``: fast models decide where they are sure, and the language model reads only the other users."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from segadmin.contracts.backbone import Backbone, Classifier, Examples, FitContext, load_fitted, no_progress
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.evaluation.calibration import fit_temperature, scaled
from segadmin.settings import Settings
from segadmin_plugins.backbones.combination import TEXT, TextCombination, part_of, rows_of
from segadmin_plugins.backbones.pooled import fit_pool, load_pool
from segadmin_plugins.options import Names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STUDENT = "student"
#: Standard deviations below the mean that one in twenty draws of a normal distribution is.
_ONE_IN_TWENTY = 1.645


@dataclass(frozen=True, kw_only=True)
class Cascade(TextCombination):
    """Fast models, the student, in front of a language model, which reads only the users of whom they are not sure.

    The student learns the language model's answers (distillation, Hinton et al. 2015). Its models are weighted by how
    well they predict these answers on the validation users. The probability from which it is sure is chosen on the
    same users: as low as possible while the cascade puts at least ``agreement`` of them, with a margin for chance, in
    the segment of the language model. To be sure of the model's answer is not to be sure of the truth: the student's
    probabilities are scaled by a temperature, fitted on the validation users of whom it is sure.
    """

    name: ClassVar[str] = "cascade"

    student: Names = ("linear", "tabular", "tfidf")  #: the fast backbones
    #: fraction of the validation users that must be in the same segment as with the language model alone
    agreement: Annotated[float, Field(gt=0.5, lt=1)] = 0.99

    @property
    def others(self) -> Names:
        """The names of the fast backbones."""
        return self.student

    def check(self, settings: Settings) -> None:
        """Check the requirements of all models."""
        for member in (self.reader(settings), *self._students(settings).values()):
            member.check(settings)

    def fit(self, train: Examples, validation: Examples, run: FitContext) -> CascadeClassifier:
        """Fit the language model, then the student on its answers, and choose the threshold."""
        text = self.reader(run.settings).fit(train, validation, part_of(run, TEXT, 0.0, 0.9))
        answers = text.predict(train), text.predict(validation)
        student = fit_pool(
            self._students(run.settings),
            _answered(train, answers[0]),
            _answered(validation, answers[1]),
            replace(part_of(run, STUDENT, 0.9, 0.1), also={}, start=None),
        )
        certainty = student.predict(validation)
        threshold, fraction = choose_threshold(certainty, answers[1], self.agreement)
        sure = certainty.max(axis=1) >= threshold
        temperature = fit_temperature(certainty[sure], validation.targets[sure])
        report = {
            "threshold": round(threshold, 4),
            "temperature": round(temperature, 4),
            "language_model_fraction": round(fraction, 4),
            "agreement": self.agreement,
            TEXT: text.report,
            STUDENT: student.report,
            "truncation": text.report.get("truncation", {}),
        }
        return CascadeClassifier(text, student, threshold, temperature, report)

    def load(self, folder: Path, settings: Settings) -> CascadeClassifier:
        """Read both models from ``folder``."""
        stored = json.loads((folder / "cascade.json").read_text())
        text = load_fitted(self.reader(settings), folder / TEXT, settings)
        student = load_pool(self._students(settings), folder / STUDENT, settings)
        return CascadeClassifier(text, student, stored["threshold"], stored["temperature"], stored["report"])

    def _students(self, settings: Settings) -> dict[str, Backbone]:
        if not self.student:
            raise ConfigurationError("student names no backbones. Write it as student=linear,tfidf")
        return {name: load_plugins(settings).make("backbone", name, {}) for name in self.student}


class CascadeClassifier(Classifier):
    """The fitted models, the probability from which the student is sure, and the temperature of its probabilities."""

    def __init__(
        self, text: Classifier, student: Classifier, threshold: float, temperature: float, report: dict[str, Any]
    ) -> None:
        self._text, self._student, self.report = text, student, report
        self._threshold, self._temperature = threshold, temperature

    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment, of the student where it is sure."""
        certainty = self._student.predict(examples)
        unsure = ~(certainty.max(axis=1) >= self._threshold)
        probabilities = scaled(certainty, self._temperature).astype(certainty.dtype)
        if unsure.any():
            probabilities[unsure] = self._text.predict(rows_of(examples, unsure), progress)
        fraction = round(float(unsure.mean()), 4) if len(examples) else 0.0
        self.remark = self._text.remark
        self.inference: Mapping[str, Any] = {**self._text.inference, "language_model_fraction": fraction}
        return probabilities

    def save(self, folder: Path) -> None:
        """Write each model to its own folder."""
        self._text.save(folder / TEXT)
        self._student.save(folder / STUDENT)
        self._save_choices(folder)

    def export(self, folder: Path) -> None:
        """Write each model to its own folder, with everything that it needs."""
        self._text.export(folder / TEXT)
        self._student.export(folder / STUDENT)
        self._save_choices(folder)

    def _save_choices(self, folder: Path) -> None:
        stored = {"threshold": self._threshold, "temperature": self._temperature, "report": self.report}
        (folder / "cascade.json").write_text(json.dumps(stored, ensure_ascii=False, indent=2))


def choose_threshold(student: NDArray[np.float32], text: NDArray[np.float32], agreement: float) -> tuple[float, float]:
    """Return the lowest threshold with the wanted agreement, and the fraction of users below it.

    Among few rows a threshold can agree by luck: so many fewer may disagree that a threshold which agrees less often
    than wanted passes one time in twenty.

    Args:
        student: probabilities of the student, ``(n_rows, n_segments)``.
        text: those of the language model.
        agreement: fraction of the rows that must get the language model's segment.

    Returns:
        The threshold on the student's largest probability; above 1 if there are no rows: then it is never sure.
    """
    import numpy as np

    if not len(student):
        return 2.0, 1.0
    confidence = student.max(axis=1).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((student.argmax(axis=1) != text.argmax(axis=1))[order])
    sorted_confidence = confidence[order]
    # Rows of equal confidence are on the same side of a threshold.
    is_last = np.append(sorted_confidence[1:] < sorted_confidence[:-1], True)
    expected = (1 - agreement) * len(student)
    allowed = int(max(0.0, expected - _ONE_IN_TWENTY * np.sqrt(expected * agreement)))
    fitting = np.flatnonzero(is_last & (wrong <= allowed))
    if not len(fitting):
        return 2.0, 1.0
    last = int(fitting[-1])
    return float(sorted_confidence[last]), 1 - (last + 1) / len(student)


def _answered(examples: Examples, probabilities: NDArray[np.float32]) -> Examples:
    """Return ``examples`` with the language model's segments as targets."""
    import polars as pl

    targets = pl.Series("target", probabilities.argmax(axis=1), dtype=pl.Int64)
    return replace(examples, frame=examples.frame.with_columns(targets))
