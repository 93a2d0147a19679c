"""Creates recipes, and checks that the textualizer of a model's recipe is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segadmin.contracts.plugins import Plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Language
from segadmin.text.recipe import Recipe

#: Equal parts of the window whose spend is a feature: their minimum length, as many users make no visit in a shorter
#: part, and their minimum and maximum number. Fewer parts add nothing to the last half and quarter, also features.
_MIN_PART_DAYS, _MIN_PARTS, _MAX_PARTS = 14.0, 4, 8


def new_recipe(
    plugins: Plugins,
    textualizer: str,
    options: dict[str, Any],
    *,
    language: Language,
    templates: Mapping[Language, dict[str, tuple[str, ...]]],
    window_days: float,
    max_phrases: int,
) -> Recipe:
    """Return a recipe without the features that are chosen from training data.

    Raises:
        PluginNotFound: there is no such textualizer.
        ConfigurationError: an option is unknown or has an invalid value.
    """
    registered = plugins.find("textualizer", textualizer)
    return Recipe(
        textualizer=textualizer,
        textualizer_version=plugins.make("textualizer", textualizer, options).version,
        textualizer_options=options,
        distribution=registered.distribution,
        templates=templates.get(language, {}),
        language=language,
        window_days=window_days,
        max_phrases=max_phrases,
        parts=window_parts(window_days),
    )


def window_parts(window_days: float) -> int:
    """Return the number of equal parts of a window whose spend is a feature."""
    parts = min(_MAX_PARTS, int(window_days / _MIN_PART_DAYS))
    return parts if parts >= _MIN_PARTS else 0


def check_recipe(plugins: Plugins, recipe: Recipe, owner: str) -> None:
    """Check that the textualizer of ``recipe``, and its modality, are installed in the same version.

    Raises:
        PluginNotFound: it is not installed.
        ConfigurationError: another version is installed; the message names ``owner``.
    """
    registered = plugins.find("textualizer", recipe.textualizer)
    installed_version = registered.load().version
    if installed_version != recipe.textualizer_version:
        raise ConfigurationError(
            f"{owner} reads text of {recipe.textualizer!r} version {recipe.textualizer_version} "
            f"({recipe.distribution}), but version {installed_version} ({registered.distribution}) is installed. "
            "Install that one, or train again: segadmin enqueue retrain"
        )
    fitted = recipe.modality
    if fitted is not None and (installed := plugins.find("modality", fitted.name).load().version) != fitted.version:
        raise ConfigurationError(
            f"{owner} reads words of the modality {fitted.name!r} version {fitted.version} ({fitted.distribution}), "
            f"but version {installed} is installed. Install that one, or train again: segadmin enqueue retrain"
        )
