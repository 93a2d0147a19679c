"""What backbones that are made of others share: the one that reads the text, and parts of examples and of fits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from segadmin.contracts.backbone import Backbone, Examples, FitContext, Pretraining, SavableModel, TokenCounts
from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin_plugins.options import Names, Table

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

#: The folder of the backbone that reads the text, in those of the whole.
TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class TextCombination(Backbone):
    """A backbone that reads the text and others, in one; only the one that reads the text is pretrained."""

    supports_warm_start: ClassVar[bool] = True
    supports_auxiliary_tasks: ClassVar[bool] = True
    language_defaults: ClassVar[Mapping[str, Mapping[str, str]]] = {"zh": {"text": "e5"}}  # minilm reads English

    text: str = "minilm"  #: the backbone that reads the text: a registered name, a Hugging Face id, or a folder
    text_options: Table = field(default_factory=dict)  #: its options, such as ``epochs=1,max_tokens=96``

    @property
    @abstractmethod
    def others(self) -> Names:
        """The names of the other backbones."""

    def try_run(self, settings: Settings) -> list[str]:
        """Try the backbone of the text."""
        return self.reader(settings).try_run(settings)

    def pretrain(self, texts: Examples, held_out: Examples, run: FitContext, how: Pretraining) -> SavableModel:
        """Pretrain the backbone of the text; the others learn nothing from unlabelled texts."""
        return self.reader(run.settings).pretrain(texts, held_out, run, how)

    def count_tokens(self, folder: Path, settings: Settings, phrases: pl.Series) -> TokenCounts | None:
        """Return how the tokenizer of the language model reads texts."""
        return self.reader(settings).count_tokens(folder / TEXT, settings, phrases)

    def reader(self, settings: Settings) -> Backbone:
        """Return the backbone that reads the text.

        Raises:
            ConfigurationError: it, or another one, is this backbone itself.
        """
        plugins = load_plugins(settings)
        name, options = resolve_backbone(plugins, self.text, self.text_options)
        if self.name in {name, *self.others}:
            raise ConfigurationError(
                f"{self.name} cannot be a part of itself. Name the backbone of the text: text=minilm"
            )
        backbone: Backbone = plugins.make("backbone", name, options)
        return backbone


def part_of(run: FitContext, name: str, start: float, share: float) -> FitContext:
    """Return ``run`` for one of the fits, with its own checkpoints and its part of the progress."""
    folder = run.checkpoints / name
    folder.mkdir(parents=True, exist_ok=True)

    def progress(done: float, note: str = "") -> None:
        run.progress(start + done * share, f"{name}: {note}")

    def log(step: int, figures: Mapping[str, float]) -> None:
        run.log(step, {f"{name}/{figure}": value for figure, value in figures.items()})

    begin = run.start / TEXT if run.start and (run.start / TEXT).is_dir() else run.start
    return replace(run, checkpoints=folder, progress=progress, log=log, start=begin)


def rows_of(examples: Examples, chosen: NDArray[np.bool_]) -> Examples:
    """Return the ``chosen`` rows, ``(n_rows,) bool``."""
    return replace(examples, frame=examples.frame.filter(chosen))
