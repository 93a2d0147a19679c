"""What of a model version does not match this shop: features, segments, language, vocabulary, plugins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sqlmodel import col, select

from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.counts import counted
from segadmin.errors import BackboneUnavailable, SegadminError
from segadmin.events.extras import names_of
from segadmin.events.items import facet
from segadmin.models.manifest import ModelManifest
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.lake import Lake
from segadmin.storage.records import LabelSet
from segadmin.text.features import feature_names
from segadmin.text.item_words import readable_vectors
from segadmin.text.recipe import Recipe
from segadmin.text.recipes import check_recipe
from segadmin.text.vocabulary import VocabularyMatch, match_vocabulary

#: Number of names in a line; the JSON has all of them.
_NAMED = 5


@dataclass(frozen=True)
class ShopMatch:
    """How a version fits this shop."""

    features: int  #: of the version
    missing_features: tuple[str, ...]  #: those of values that this shop's items and events do not have
    label_set: str  #: of the version here
    has_labels: bool  #: whether this shop has that label set
    lacking_segments: tuple[str, ...]  #: segments of the version that the label set does not have
    unknown_segments: tuple[str, ...]  #: segments of the label set that the version does not have
    language: str
    shop_language: str
    vocabulary: VocabularyMatch | None  #: ``None`` if the version has no tokenizer, or it could not be tried
    problems: tuple[str, ...]  #: plugins, libraries and weights that are missing here, each with the fix

    @property
    def lines(self) -> list[str]:
        """One line about everything that does not match."""
        return [*self._about_features(), *self._about_labels(), *self._about_text(), *self.problems]

    def _about_features(self) -> Iterator[str]:
        if self.missing_features:
            yield (
                f"features: {len(self.missing_features)} of {self.features} do not exist in this shop: "
                f"{_some(self.missing_features)}; a fit that starts from the version learns this shop's own"
            )

    def _about_labels(self) -> Iterator[str]:
        if self.label_set and not self.has_labels:
            yield f"labels: there is no label set {self.label_set!r} here; name one with --labels"
        for segments, whose in (
            (self.lacking_segments, f"not in the labels {self.label_set!r}"),
            (self.unknown_segments, f"only in the labels {self.label_set!r}, unknown to the version"),
        ):
            if segments:
                yield f"segments: {_some(segments)}: {whose}"

    def _about_text(self) -> Iterator[str]:
        if self.language != self.shop_language:
            yield f"language: the version reads {self.language!r}; SEGADMIN_LANGUAGE here is {self.shop_language!r}"
        words = self.vocabulary
        if words is not None and (words.split or words.unknown):
            named = f", such as {_some(words.examples)}" if words.examples else ""
            yield (
                f"vocabulary: {words.split:.1%} of {counted(words.words, 'distinct word')} are in pieces{named}; "
                f"{words.unknown:.2%} of the tokens are unknown (texts of {counted(words.users, 'user')})"
            )


def match_shop(settings: Settings, folder: Path, manifest: ModelManifest, label_set: str) -> ShopMatch:
    """Compare a version with this shop's data, labels, settings and plugins.

    Args:
        settings: of this shop.
        folder: the version's files.
        manifest: the version's manifest.
        label_set: the version's label set in this shop; empty for a pretrained version.
    """
    recipe, plugins = manifest.recipe, load_plugins(settings)
    problems = list(_plugin_problems(settings, plugins, manifest, folder))
    vocabulary = None
    try:
        vocabulary = match_vocabulary(folder, settings, recipe)
    except SegadminError as error:
        problems.append(f"vocabulary: not compared: {error}")
    with reading(settings) as session:
        labels = session.exec(select(LabelSet).where(col(LabelSet.name) == label_set)).one_or_none()
    segments = list(labels.segments) if labels else []
    return ShopMatch(
        features=len(manifest.features),
        missing_features=tuple(missing_features(Lake.of(settings), recipe)) if manifest.features else (),
        label_set=label_set,
        has_labels=labels is not None,
        lacking_segments=tuple(name for name in manifest.segments if labels and name not in segments),
        unknown_segments=tuple(name for name in segments if name not in manifest.segments),
        language=recipe.language,
        shop_language=settings.language,
        vocabulary=vocabulary,
        problems=tuple(problems),
    )


def missing_features(lake: Lake, recipe: Recipe) -> list[str]:
    """Return the features of ``recipe`` whose category, brand, facet value, extra or vectors this shop lacks."""
    items = lake.scan("items")
    brands = _lacking(items, pl.col("brand"), {*recipe.brands, *recipe.recent_brands})
    facets = {extra: _lacking(items, facet(extra), values) for extra, values in recipe.facets.items()}
    used = set(names_of(lake.scan("events").select("extras").drop_nulls().head(1).collect()["extras"]))
    own = recipe.model_copy(
        update={
            "categories": tuple(_lacking(items, pl.col("category"), recipe.categories)),
            "brands": tuple(name for name in recipe.brands if name in brands),
            "recent_brands": tuple(name for name in recipe.recent_brands if name in brands),
            "facets": {extra: tuple(values) for extra, values in facets.items()},
            "uses": tuple(name for name in recipe.uses if name not in used),
            "words": () if _has_vectors(lake, recipe) else recipe.words,
        }
    )
    nothing = recipe.model_copy(
        update={"categories": (), "brands": (), "recent_brands": (), "facets": {}, "uses": (), "words": ()}
    )
    always = set(feature_names(nothing))
    return [name for name in feature_names(own) if name not in always]


def _has_vectors(lake: Lake, recipe: Recipe) -> bool:
    """Return whether an item has a vector that the recipe's modality can read."""
    if recipe.modality is None:
        return True
    return readable_vectors(lake, recipe.modality).head(1).collect().height > 0


def _lacking(items: pl.LazyFrame, value: pl.Expr, wanted: Iterable[str]) -> list[str]:
    """Return those of the ``wanted`` values that no item has."""
    names = list(dict.fromkeys(wanted))
    value = value.alias("value")
    existing = set(items.select(value).filter(pl.col("value").is_in(names)).unique().collect()["value"])
    return [name for name in names if name not in existing]


def _plugin_problems(settings: Settings, plugins: Plugins, manifest: ModelManifest, folder: Path) -> Iterator[str]:
    """Yield what is missing to read texts as the version does, and to load it or to fit from it."""
    recipe = manifest.recipe
    try:
        check_recipe(plugins, recipe, "The version")
    except SegadminError as error:
        yield f"textualizer: {error} It is of {recipe.distribution}."
    try:
        plugins.make("backbone", manifest.backbone, manifest.backbone_options).check(settings)
    except BackboneUnavailable as error:
        has_own = "model" in manifest.backbone_options
        yield f"backbone: {error}" + (f" Or fit from it alone: --backbone-option model={folder}" if has_own else "")
    except SegadminError as error:
        yield f"backbone: {error} It is of {manifest.backbone_distribution}."


def _some(names: Iterable[str]) -> str:
    named = list(names)
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more
