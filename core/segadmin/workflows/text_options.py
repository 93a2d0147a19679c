"""The options of every kind of job that reads users: how events become text."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.templates import check_templates, read_templates
from segadmin.errors import ConfigurationError
from segadmin.jobs.registry import Option, Request
from segadmin.settings import Language, Settings
from segadmin.text.recipe import ModalityChoice, Recipe
from segadmin.text.recipes import new_recipe


class TextRequest(Request):
    """How events become text."""

    common: ClassVar[tuple[str, ...]] = ("textualizer", "language", "window_days")

    textualizer: Annotated[str, Option(short="t")] = Field("mixed", description="How events become text.")
    textualizer_options: Annotated[dict[str, Any], Option("textualizer-option")] = Field(
        {}, description="Option of the textualizer."
    )
    language: Annotated[Language | None, Option(default="SEGADMIN_LANGUAGE")] = Field(
        None, description="Language of the text."
    )
    window_days: float = Field(
        112.0, gt=0, le=36_500, description="Days of events before the cut-off that the text covers."
    )
    max_phrases: int = Field(
        96, ge=1, le=10_000, description="Maximum number of phrases per user; the most informative are kept."
    )
    modality: Annotated[str | None, Option(default="text without words of vectors")] = Field(
        None, description="What turns vectors of items, such as pictures, into words: `visual-words`, or a plugin."
    )
    modality_options: Annotated[dict[str, Any], Option("modality-option")] = Field(
        {}, description="Option of the modality."
    )
    modality_vector: Annotated[str | None, Option(metavar="NAME", default="the only one")] = Field(
        None, description="Name of the vectors that the modality reads."
    )
    #: by language, in place of the textualizers' own
    templates: Annotated[
        dict[Language, dict[str, tuple[str, ...]]], Option(metavar="FILE.toml", read=read_templates)
    ] = Field({}, description="TOML file with other sentences for the text; see `plugins show textualizer NAME`.")

    def completed(self, settings: Settings) -> Self:
        """Return the request with its language: who asks decides, and not the worker's setting.

        Raises:
            PluginNotFound: there is no such textualizer.
            ConfigurationError: it has no such option or template, or cannot use the value.
        """
        plugins = load_plugins(settings)
        plugins.find("textualizer", self.textualizer)
        if self.textualizer_options:
            plugins.make("textualizer", self.textualizer, self.textualizer_options)
        for templates in self.templates.values():
            check_templates(plugins, templates)
        if self.modality is not None:
            plugins.find("modality", self.modality)
            if self.modality_options:
                plugins.make("modality", self.modality, self.modality_options)
        elif self.modality_options or self.modality_vector is not None:
            option = "--modality-option" if self.modality_options else f"--modality-vector {self.modality_vector}"
            raise ConfigurationError(f"{option} needs a modality. Add --modality visual-words, or leave it out.")
        return self if self.language else self.model_copy(update={"language": settings.language})

    def recipe(self, settings: Settings, parent: Recipe | None = None) -> Recipe:
        """Return the recipe that is asked for, without the features that only training data can choose.

        The modality is fitted on the lake's items, unless it is that of ``parent``, the version to continue from.

        Raises:
            DataError: there are no vectors for the modality.
        """
        plugins, language = load_plugins(settings), self.language or settings.language
        recipe = new_recipe(
            plugins,
            self.textualizer,
            self.textualizer_options,
            language=language,
            templates=self.templates,
            window_days=self.window_days,
            max_phrases=self.max_phrases,
        )
        if self.modality is None:
            return recipe
        from segadmin.storage.lake import Lake
        from segadmin.text.item_words import fit_modality

        choice = ModalityChoice(name=self.modality, options=self.modality_options, vector=self.modality_vector)
        fitted = fit_modality(plugins, Lake.of(settings), choice, language, parent)
        return recipe.model_copy(update={"modality": fitted})
