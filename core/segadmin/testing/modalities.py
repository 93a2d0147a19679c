"""The contract of a modality, as a test for authors of modalities."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from segadmin.contracts.modality import ItemVectors, Modality
from segadmin.errors import PluginContractError
from segadmin.settings import Language

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOOKS: dict[Language, tuple[str, ...]] = {"en": ("striped", "dotted", "plain"), "zh": ("条纹", "圆点", "纯色")}
_THING: dict[Language, str] = {"en": "{} shirt {}", "zh": "{}衬衫{}"}


def sample_vectors(items: int = 90, language: Language = "en", *, titles: bool = True) -> ItemVectors:
    """Return items of three looks, each with vectors around its own centre; every tenth has no title.

    Args:
        items: how many there are.
        language: of the titles, which name the look.
        titles: whether there are any.
    """
    import numpy as np
    import polars as pl

    random = np.random.default_rng(0)
    looks = np.arange(items) % 3
    vectors = random.normal(size=(3, 24))[looks] + random.normal(0, 0.05, (items, 24))
    title, look_names = _THING[language], _LOOKS[language]
    names = [title.format(look_names[look], n) if titles and n % 10 else None for n, look in enumerate(looks)]
    return ItemVectors(vectors.astype(np.float32), pl.Series(names, dtype=pl.String), language, 17)


def check_modality(modality: Modality) -> list[str]:
    """Check that segadmin can use ``modality``, in every language; return the words of a sample item.

    Raises:
        AssertionError: with the rule of the contract that is violated.
    """
    assert getattr(modality, "name", ""), "give it a name: ClassVar[str]"
    assert modality.version, "give it a version"
    for language in get_args(Language):
        _check(modality, sample_vectors(language=language))
        _check(modality, sample_vectors(language=language, titles=False))
        _check(modality, sample_vectors(1, language))
    return _words(modality, _codebook(modality, sample_vectors()), sample_vectors().vectors)[0]


def _check(modality: Modality, items: ItemVectors) -> None:
    codebook = _codebook(modality, items)
    words = _words(modality, codebook, items.vectors)
    again = _codebook(modality, items)
    assert words == _words(modality, again, items.vectors), "a second fit on the same items and seed gives other words"
    alone = [_words(modality, codebook, items.vectors[[row]])[0] for row in range(len(words))]
    assert words == alone, "the words of a vector depend on the vectors beside it"
    assert _words(modality, codebook, items.vectors[:0]) == [], "without vectors there are words"
    far = items.vectors[:1] * 1e6
    _words(modality, codebook, far)


def _codebook(modality: Modality, items: ItemVectors) -> dict[str, Any]:
    """Return the codebook as a model version stores it."""
    codebook = modality.fit(items)
    assert isinstance(codebook, dict), f"fit() returned {type(codebook).__name__}, not a dict"
    try:
        stored: dict[str, Any] = json.loads(json.dumps(codebook, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the codebook is no JSON: {error}") from None
    return stored


def _words(modality: Modality, codebook: dict[str, Any], vectors: NDArray[np.float32]) -> list[list[str]]:
    from segadmin.text.item_words import check_words

    words = modality.words(codebook, vectors)
    try:
        check_words(words, len(vectors), "the modality")
    except PluginContractError as error:
        raise AssertionError(str(error)) from None
    return words
