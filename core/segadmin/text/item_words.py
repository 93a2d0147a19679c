"""The words of items: a modality is fitted on vectors of items once, and reads their words from then on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from segadmin.contracts.modality import ItemVectors, Modality
from segadmin.contracts.plugin_errors import describe
from segadmin.contracts.plugins import Plugins, Registered
from segadmin.errors import INTERRUPTS, DataError, PluginContractError, PluginError, SegadminError
from segadmin.settings import Language
from segadmin.storage.lake import Lake
from segadmin.text.recipe import FittedModality, ModalityChoice, Recipe

#: The column of an item's words, separated by spaces.
WORDS = "words"
#: Seed of the fit, and the maximum number of items of it.
_SEED, _FITTED_ON = 17, 50_000
_MAX_CODEBOOK_BYTES = 4 * 2**20


def fit_modality(
    plugins: Plugins, lake: Lake, choice: ModalityChoice, language: Language, parent: Recipe | None = None
) -> FittedModality:
    """Fit a modality on the items of the lake; that of ``parent``, if it is the same, is returned as it is.

    Raises:
        DataError: there are no vectors, or several kinds and none is chosen.
        PluginError: the modality failed.
        PluginContractError: its codebook is no JSON, or too large.
    """
    registered = plugins.find("modality", choice.name)
    modality: Modality = plugins.make("modality", choice.name, choice.options)
    name = _chosen(lake, choice)
    vectors = lake.scan("item_vectors").filter(pl.col("name") == name).select("item", "vector")
    titles = lake.scan("items").select("item", "title")
    items = vectors.join(titles, on="item", how="left").sort("item").collect()
    length = items["vector"].list.len()[0]
    facts = {
        "name": registered.name,
        "version": modality.version,
        "options": choice.options,
        "vector": name,
        "length": length,
    }
    if parent is not None and parent.modality is not None and facts.items() <= parent.modality.model_dump().items():
        return parent.modality
    if items.height > _FITTED_ON:
        items = items.sample(_FITTED_ON, seed=_SEED)
    numbers = items["vector"].list.to_array(length).to_numpy()
    with _calling(registered, "fit"):
        codebook = modality.fit(ItemVectors(numbers, items["title"], language, _SEED))
    return FittedModality(**facts, distribution=registered.distribution, codebook=_checked(codebook, registered))


def item_words(plugins: Plugins, lake: Lake, recipe: Recipe) -> pl.DataFrame | None:
    """Return the words of every item that has a vector: ``item`` and ``words`` (String); without a modality ``None``.

    Raises:
        PluginError: the modality failed.
        PluginContractError: it returned something other than words.
    """
    fitted = recipe.modality
    if fitted is None:
        return None
    registered = plugins.find("modality", fitted.name)
    modality: Modality = plugins.make("modality", fitted.name, fitted.options)
    items = readable_vectors(lake, fitted).select("item", "vector").sort("item").collect()
    numbers = items["vector"].list.to_array(fitted.length).to_numpy()
    words: list[list[str]] = []
    if items.height:
        with _calling(registered, "words"):
            words = modality.words(fitted.codebook, numbers)
    check_words(words, items.height, f"The modality {fitted.name!r} of {registered.distribution}")
    joined = pl.Series(WORDS, words, dtype=pl.List(pl.String)).list.join(" ")
    return items.select("item", joined.replace("", None)).drop_nulls()


def readable_vectors(lake: Lake, fitted: FittedModality) -> pl.LazyFrame:
    """Return the rows of ``item_vectors`` that the modality can read."""
    is_readable = (pl.col("name") == fitted.vector) & (pl.col("vector").list.len() == fitted.length)
    return lake.scan("item_vectors").filter(is_readable)


def check_words(words: Any, items: int, source: str) -> None:
    """Check what a modality returned.

    Raises:
        PluginContractError: it is not a list of words for each item; the message names ``source``.
    """
    if not isinstance(words, list) or len(words) != items:
        returned = f"{len(words)} lists" if isinstance(words, list) else type(words).__name__
        raise PluginContractError(f"{source} returned {returned} from words() for {items} items, not a list for each.")
    for of_item in words:
        if not isinstance(of_item, list | tuple) or not all(isinstance(word, str) for word in of_item):
            raise PluginContractError(f"{source} returned {of_item!r} from words(), not a list of texts.")
        for word in of_item:
            if not word or word.split() != [word]:
                raise PluginContractError(
                    f"{source} returned the word {word!r}. A word has no spaces and is not empty."
                )


def single_words(words: pl.DataFrame) -> pl.DataFrame:
    """Return ``item`` and ``words`` with a row for each word."""
    return words.with_columns(pl.col(WORDS).str.split(" ")).explode(WORDS, empty_as_null=False)


def _chosen(lake: Lake, choice: ModalityChoice) -> str:
    names = lake.scan("item_vectors").select(pl.col("name").unique().sort()).collect()["name"].to_list()
    if not names:
        raise DataError(
            f"No item has a vector, which --modality {choice.name} reads. Import some: segadmin data import items FILE "
            "--vector COLUMN, or a folder of pictures: segadmin data import items FOLDER --source images"
        )
    chosen: str | None = names[0] if choice.vector is None and len(names) == 1 else choice.vector
    if chosen is None or chosen not in names:
        problem = "Items have several vectors" if choice.vector is None else f"No item has a vector {choice.vector!r}"
        raise DataError(f"{problem}. Choose one with --modality-vector: {', '.join(names)}")
    return chosen


def _checked(codebook: Any, registered: Registered) -> dict[str, Any]:
    source = f"The modality {registered.name!r} of {registered.distribution}"
    try:
        size = len(json.dumps(codebook, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PluginContractError(f"{source} returned a codebook that is no JSON: {error}.") from None
    if not isinstance(codebook, dict):
        raise PluginContractError(f"{source} returned {type(codebook).__name__} from fit(), not a dict.")
    if size > _MAX_CODEBOOK_BYTES:
        raise PluginContractError(
            f"{source} returned a codebook of {size:,} bytes; it may have {_MAX_CODEBOOK_BYTES:,}."
        )
    return codebook


@contextmanager
def _calling(registered: Registered, method: str) -> Iterator[None]:
    try:
        yield
    except (SegadminError, *INTERRUPTS):
        raise
    except BaseException as error:
        message = (
            f"The modality {registered.name!r} of {registered.distribution} failed in {method}(): {describe(error)}"
        )
        raise PluginError(message) from error
