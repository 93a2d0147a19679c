"""The contract of a backbone: a model that predicts the segments of users, and the classifier that a fit returns."""

from __future__ import annotations

import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from segadmin.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from segadmin.settings import Settings


@dataclass(frozen=True)
class Examples:
    """Users in the form that a backbone reads.

    ``frame`` has one row per user and window: ``user_key`` (Int64), ``as_of`` (Datetime), ``phrases``
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


@dataclass(frozen=True)
class UnlabelledUsers:
    """Users at earlier cut-offs, labelled or not, and what they did after them, before the first test row.

    No held-out user is among them.
    """

    users: Examples  #: without targets; ``frame`` also has ``outcomes`` (List[Float32], one value per outcome name)
    outcome_names: tuple[str, ...]  #: names of features, of the time after the cut-off

    @property
    def outcomes(self) -> NDArray[np.float32]:
        """The outcomes, ``(n_rows, n_outcomes) float32``; missing values are NaN."""
        import polars as pl

        width = pl.Array(pl.Float32, len(self.outcome_names))
        return self.users.frame["outcomes"].cast(width).to_numpy()


@dataclass(frozen=True)
class TokenCounts:
    """How a tokenizer reads the texts of users: integers ``(n_users,)``."""

    tokens: NDArray[np.int64]  #: of the whole text, without special tokens
    unknown: NDArray[np.int64]  #: of them, those that stand for what is not in the vocabulary
    dropped: NDArray[np.int64]  #: of them, those that the model does not read, as the text is too long


def no_progress(_fraction: float, _note: str = "") -> None:
    """Discard the progress: the default of every ``progress``."""


def no_log(_step: int, _metrics: Mapping[str, float]) -> None:
    """Discard the metrics: the default of every ``log``."""


@dataclass(frozen=True)
class FitContext:
    """What a fit receives besides the data."""

    settings: Settings
    checkpoints: Path  #: a folder that outlives the attempt; a retried fit resumes from its content
    seed: int = 17
    #: Called with the fraction done (0 to 1) and a short note; raises when the fit must stop.
    progress: Callable[[float, str], None] = no_progress
    #: Called with a step of the fit and its metrics, such as ``{"validation_log_loss": 0.69}``, for learning curves.
    log: Callable[[int, Mapping[str, float]], None] = no_log
    start: Path | None = None  #: folder that :meth:`SavableModel.save` of an earlier version wrote: a warm start
    #: Whether ``start`` knows these segments already and only what is new since is to be learnt. Such a fit should be
    #: much shorter, and return what it started from where that is no worse on the validation rows.
    update: bool = False
    #: Rows of auxiliary label sets by name, for multi-task backbones; no validation or test rows are among them.
    also: Mapping[str, Examples] = field(default_factory=dict)
    #: Users without labels, for backbones that use them; ``None`` for others.
    unlabelled: UnlabelledUsers | None = None


@dataclass(frozen=True)
class Pretraining:
    """How a language model is trained on unlabelled texts."""

    mask: float = 0.15  #: fraction of the tokens that are masked, in encoders
    whole_phrases: bool = False  #: mask whole phrases, not single tokens
    new_words: int = 0  #: number of the shop's own words to add to the vocabulary


class SavableModel(ABC):
    """A trained model that can be saved."""

    #: Facts to store with the model version, JSON only: epochs run, best step, users truncated, …
    report: dict[str, Any]

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all that use or further training needs into ``folder``: safetensors, JSON, text; never pickle."""

    def export(self, folder: Path) -> None:
        """Write all that use on another machine needs into ``folder``; by default the same as :meth:`save`."""
        self.save(folder)


class Classifier(SavableModel):
    """A fitted backbone."""

    remark: str = ""  #: a note about how it predicts on this machine, such as that memory is short
    inference: Mapping[str, Any] = MappingProxyType({})  #: how it predicts here: engine, precision, agreement, …

    @abstractmethod
    def predict(self, examples: Examples, progress: Callable[[float, str], None] = no_progress) -> NDArray[np.float32]:
        """Return the probability of every segment, ``(n_rows, n_segments) float32``, rows summing to 1."""


#: Class attributes of backbones that were renamed: before → now.
_RENAMED = {"goes_on": "supports_warm_start", "learns_beside": "supports_auxiliary_tasks"}


class Backbone(ABC):
    """A model and its options, cheap to create. Subclass it as a frozen dataclass: its fields are its options."""

    name: ClassVar[str]  #: what ``--backbone`` takes
    search: ClassVar[Mapping[str, str]] = {}  #: options that are worth a search, as ``--search`` takes them
    #: Options whose default depends on the language of the text: language → options
    language_defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    supports_warm_start: ClassVar[bool] = False  #: whether a fit uses :attr:`FitContext.start`
    supports_auxiliary_tasks: ClassVar[bool] = False  #: whether a fit uses :attr:`FitContext.also`
    uses_unlabelled_users: ClassVar[bool] = False  #: whether a fit needs :attr:`FitContext.unlabelled`

    def __init_subclass__(cls, **more: Any) -> None:
        """Honour the names that class attributes had before."""
        super().__init_subclass__(**more)
        for before, name in _RENAMED.items():
            if before in vars(cls) and name not in vars(cls):
                message = f"{cls.__qualname__}.{before} is called {name} now. Rename it."
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                setattr(cls, name, vars(cls)[before])

    @abstractmethod
    def check(self, settings: Settings) -> None:
        """Check, before any work, that the weights and libraries are available on this machine.

        Raises:
            BackboneUnavailable: with the places that were tried and the command that fixes it.
        """

    def try_run(self, settings: Settings) -> list[str]:
        """Fit on a few texts, save and load, in seconds, to detect before any work what would fail later.

        Returns:
            Remarks about the model, one line each. By default nothing is tried and there are none.

        Raises:
            BackboneUnavailable: the model or its tokenizer cannot be used, with the reason.
        """
        return []

    @abstractmethod
    def fit(self, train: Examples, validation: Examples, run: FitContext) -> Classifier:
        """Train on ``train``, select on ``validation``, and return the classifier."""

    def pretrain(self, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining) -> SavableModel:
        """Train on unlabelled ``texts``; the saved model can be :attr:`FitContext.start` of a later fit.

        Raises:
            ConfigurationError: this kind of model cannot be pretrained, which is the default.
        """
        raise ConfigurationError(
            f"The backbone {self.name!r} learns nothing from texts without labels. Use a language model: "
            "segadmin enqueue pretrain --backbone minilm"
        )

    @abstractmethod
    def load(self, folder: Path, settings: Settings) -> Classifier:
        """Return the classifier that :meth:`Classifier.save` wrote into ``folder``."""

    def count_tokens(self, folder: Path, settings: Settings, phrases: pl.Series) -> TokenCounts | None:
        """Return how the tokenizer of a saved classifier reads texts; ``None``, the default: it has none.

        Drift reports show it. The weights need not be read for it.

        Args:
            folder: what :meth:`Classifier.save` wrote into.
            settings: location of the store.
            phrases: one list of phrases per user (List[String]), most informative first.
        """
        return None


def load_fitted(backbone: Backbone, folder: Path, settings: Settings) -> Classifier:
    """Return what ``backbone.load(folder, settings)`` returns; a ``load`` of before that takes the folder alone is too.

    Everybody who loads a backbone that may be a plugin's does it with this.
    """
    load: Callable[..., Classifier] = backbone.load
    try:
        inspect.signature(load).bind(folder, settings)
    except TypeError:
        return load(folder)
    return load(folder, settings)
