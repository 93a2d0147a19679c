"""The contract of a backbone: the model that reads users, and what it leaves behind when fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from segadmin.settings import Settings


@dataclass(frozen=True)
class Examples:
    """Users as a backbone sees them.

    ``frame`` has one row a user and window: ``user_key`` (Int64), ``as_of`` (Datetime), ``phrases``
    (List[String], most informative first), ``features`` (List[Float32], one value per feature name) and, for
    training, ``target`` (Int64, an index into ``segments``).
    """

    frame: pl.DataFrame
    segments: tuple[str, ...]
    feature_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.frame.height

    @property
    def features(self) -> NDArray[np.float32]:
        """The features, ``(n_rows, n_features) float32``; missing values are NaN."""
        import numpy as np
        import polars as pl

        if not len(self):
            return np.empty((0, len(self.feature_names)), np.float32)
        width = pl.Array(pl.Float32, len(self.feature_names))
        return self.frame["features"].cast(width).to_numpy()

    @property
    def targets(self) -> NDArray[np.int64]:
        """The targets, ``(n_rows,) int64``."""
        targets: NDArray[np.int64] = self.frame["target"].to_numpy()
        return targets


def no_progress(_fraction: float, _note: str = "") -> None:
    """Report to nobody: the default of every ``progress``."""


def no_log(_step: int, _figures: Mapping[str, float]) -> None:
    """Log nowhere: the default of every ``log``."""


@dataclass(frozen=True)
class FitContext:
    """What a fit gets besides the data."""

    settings: Settings
    checkpoints: Path  #: a folder that outlives the attempt: a retried fit goes on from what is there
    seed: int = 17
    #: Called with the fraction done (0 to 1) and a few words; raises when the fit must stop.
    progress: Callable[[float, str], None] = no_progress
    #: Called with a step of the fit and its figures, such as ``{"validation_log_loss": 0.69}``: the curves of trackers.
    log: Callable[[int, Mapping[str, float]], None] = no_log
    start: Path | None = None  #: what :meth:`Classifier.save` of an earlier version wrote, to go on from
    #: Rows of other label sets by name, for a backbone that can learn several at once; none of validation or test.
    also: Mapping[str, Examples] = field(default_factory=dict)


@dataclass(frozen=True)
class Pretraining:
    """How unlabelled texts are read."""

    mask: float = 0.15  #: share of what is hidden and to be guessed, in encoders
    whole_phrases: bool = False  #: hide whole phrases, not single tokens
    new_words: int = 0  #: of the shop's own, to be added to the vocabulary


class SavableModel(ABC):
    """What a backbone has become, and can be kept."""

    #: Facts worth keeping on the model version, JSON only: epochs run, best step, users truncated, …
    report: dict[str, Any]

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all that is needed to use it or to go on into ``folder``: safetensors, JSON, text; never pickle."""

    def export(self, folder: Path) -> None:
        """Write what is needed to use it elsewhere, without files of this machine; by default as :meth:`save` does."""
        self.save(folder)


class Classifier(SavableModel):
    """A fitted backbone."""

    remark: str = ""  #: what is worth knowing of how it predicts here, such as that memory is short

    @abstractmethod
    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment, ``(n_rows, n_segments) float32``, rows summing to 1."""


class Backbone(ABC):
    """A cheap description of a model. Subclass it as a frozen dataclass: its fields are its options."""

    name: ClassVar[str]  #: what ``--backbone`` takes
    search: ClassVar[Mapping[str, str]] = {}  #: options that are worth a search, as ``--search`` takes them
    goes_on: ClassVar[bool] = False  #: whether a fit uses :attr:`FitContext.start`
    learns_beside: ClassVar[bool] = False  #: whether a fit uses :attr:`FitContext.also`

    @abstractmethod
    def check(self, settings: Settings) -> None:
        """Check, before any work, that the weights and libraries can be had here.

        Raises:
            BackboneUnavailable: saying which places were tried and what mends it.
        """

    def try_run(self, settings: Settings) -> list[str]:
        """Fit on a few texts, save and load, in seconds: find before any work what those would find.

        Returns:
            What is worth knowing of the model, a line each; by default nothing, and nothing is tried.

        Raises:
            BackboneUnavailable: the model or its tokenizer cannot be used, with the reason.
        """
        return []

    @abstractmethod
    def fit(self, train: Examples, validation: Examples, run: FitContext) -> Classifier:
        """Learn from ``train``, choosing on ``validation``, and return the classifier."""

    def pretrain(self, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining) -> SavableModel:
        """Read unlabelled ``texts`` and return what :attr:`FitContext.start` can begin with; by default nothing can.

        Raises:
            ConfigurationError: this kind of model has nothing to learn from texts without labels.
        """
        raise ConfigurationError(
            f"The backbone {self.name!r} learns nothing from texts without labels. Use a language model: "
            "segadmin enqueue pretrain --backbone minilm"
        )

    @abstractmethod
    def load(self, folder: Path) -> Classifier:
        """Return the classifier that :meth:`Classifier.save` wrote into ``folder``."""
