"""The recipe: determines a user's text and features. It is stored with the model version and used for scoring."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from segadmin.settings import Language


class Window(BaseModel):
    """A time span of events: ``observed_from <= at < as_of``, UTC."""

    model_config = ConfigDict(frozen=True)

    observed_from: datetime
    as_of: datetime


class ModalityChoice(BaseModel):
    """The modality that is asked for."""

    model_config = ConfigDict(frozen=True)

    name: str
    options: dict[str, Any] = {}
    vector: str | None = None  #: name of the items' vectors; default: the only one


class FittedModality(BaseModel):
    """A modality with its codebook: the same vector has the same words wherever a model reads it."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    options: dict[str, Any] = {}
    distribution: str = "segadmin"  #: package of the modality, with its version
    vector: str  #: name of the items' vectors
    length: int  #: numbers of a vector; items with other vectors have no words
    codebook: dict[str, Any]


class Recipe(BaseModel):
    """How events become a user's text and features."""

    model_config = ConfigDict(frozen=True)

    textualizer: str
    textualizer_version: str
    textualizer_options: dict[str, Any] = {}
    templates: dict[str, tuple[str, ...]] = {}  #: sentences of a template file, in the recipe's language
    distribution: str = "segadmin"  #: package of the textualizer, with its version
    language: Language = "en"
    window_days: float = 112.0
    max_phrases: int = 96  #: maximum number of phrases per user
    parts: int = 0  #: number of equal parts of the window whose spend is a feature; 0 in older recipes
    modality: FittedModality | None = None  #: turns vectors of items into words
    # Chosen from training data:
    categories: tuple[str, ...] = ()  #: categories whose shares are features
    brands: tuple[str, ...] = ()  #: brands whose shares are features
    recent_brands: tuple[str, ...] = ()  #: brands whose recent shares are features too
    facets: dict[str, tuple[str, ...]] = {}  #: item extra, such as a department → values whose shares are features
    uses: tuple[str, ...] = ()  #: extras whose uses (events with a number above 0) are counted as features
    words: tuple[str, ...] = ()  #: words of items whose shares are features

    def window(self, as_of: datetime) -> Window:
        """Return the window that ends at ``as_of``."""
        return Window(observed_from=as_of - timedelta(days=self.window_days), as_of=as_of)
