"""Making the recipe that somebody asks for, and checking that the one of a model can still be followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segadmin.contracts.plugins import Plugins
from segadmin.errors import ConfigurationError
from segadmin.settings import Language
from segadmin.text.recipe import Recipe

#: Equal parts of the window whose spends are features: none shorter than so many days, in which many users do not come
#: by at all; at most, and at least, so many: fewer say no more than the last half and quarter, which are features too.
_DAYS_OF_PART, _FEWEST_PARTS, _MOST_PARTS = 14.0, 4, 8


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
    """Return a recipe, without the features that only training data can choose.

    Raises:
        PluginNotFound: there is no such textualizer.
        ConfigurationError: it has no such option, or cannot use the value.
    """
    found = plugins.find("textualizer", textualizer)
    return Recipe(
        textualizer=textualizer,
        textualizer_version=plugins.make("textualizer", textualizer, options).version,
        textualizer_options=options,
        distribution=found.distribution,
        templates=templates.get(language, {}),
        language=language,
        window_days=window_days,
        max_phrases=max_phrases,
        parts=window_parts(window_days),
    )


def window_parts(window_days: float) -> int:
    """Return into how many equal parts a window is cut, whose spends are features."""
    parts = min(_MOST_PARTS, int(window_days / _DAYS_OF_PART))
    return parts if parts >= _FEWEST_PARTS else 0


def check_recipe(plugins: Plugins, recipe: Recipe, whose: str) -> None:
    """Check that the installed textualizer writes what ``recipe`` was made with.

    Raises:
        PluginNotFound: it is not installed.
        ConfigurationError: it is another version.
    """
    found = plugins.find("textualizer", recipe.textualizer)
    installed = found.load().version
    if installed != recipe.textualizer_version:
        raise ConfigurationError(
            f"{whose} reads text of {recipe.textualizer!r} version {recipe.textualizer_version} "
            f"({recipe.distribution}), but version {installed} ({found.distribution}) is installed. "
            "Install that one, or train again: segadmin enqueue retrain"
        )
