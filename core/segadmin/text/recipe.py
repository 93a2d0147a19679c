"""The recipe: all that decides how a user is read. It travels with the model version, so scoring reads alike."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from segadmin.settings import Language


class Window(BaseModel):
    """The stretch of time whose events are read: ``observed_from <= at < as_of``, UTC."""

    model_config = ConfigDict(frozen=True)

    observed_from: datetime
    as_of: datetime


class Recipe(BaseModel):
    """How events become a user's text and features."""

    model_config = ConfigDict(frozen=True)

    textualizer: str
    textualizer_version: str
    textualizer_options: dict[str, Any] = {}
    templates: dict[str, tuple[str, ...]] = {}  #: what a file says instead, in the recipe's language
    distribution: str = "segadmin"  #: the package that the textualizer came from, with its version
    language: Language = "en"
    window_days: float = 112.0
    max_phrases: int = 96  #: a user's phrases beyond these are not kept
    parts: int = 0  #: equal parts of the window whose spends are features; those of before there were any have none
    # From training data only:
    categories: tuple[str, ...] = ()  #: categories whose shares are features
    brands: tuple[str, ...] = ()  #: brands whose shares are features
    recent_brands: tuple[str, ...] = ()  #: brands whose shares lately are features too
    facets: dict[str, tuple[str, ...]] = {}  #: extra of the items, such as a department → its values, likewise
    uses: tuple[str, ...] = ()  #: extras whose uses (events with a number above 0) are counted as features

    def window(self, as_of: datetime) -> Window:
        """Return the window that ends at ``as_of``."""
        return Window(observed_from=as_of - timedelta(days=self.window_days), as_of=as_of)
