"""The words of items in texts and features: from one codebook, for every textualizer, and not without a modality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, DataError, PluginContractError, PluginError
from segadmin.settings import Settings
from segadmin.storage.lake import Lake
from segadmin.text.features import feature_names
from segadmin.text.item_words import check_words, fit_modality, item_words, single_words
from segadmin.text.reader import read_items, read_users
from segadmin.text.recipe import ModalityChoice, Recipe
from segadmin.text.recipes import check_recipe
from segadmin_plugins.textualizers.mixed import Mixed
from tests.unit.text.rows import AS_OF
from tests.unit.text.test_reader import RECIPE as RECIPE_OF_THREE
from tests.unit.text.test_reader import fill

RECIPE = RECIPE_OF_THREE.model_copy(update={"max_phrases": 96})
CHOICE = ModalityChoice(name="visual-words", options={"parts": 1, "codes": 2})


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """Items a and b look alike, as do c and d; e has no vector."""
    lake = Lake.of(settings)
    vectors = {"a": [1.0, 0.0], "b": [1.1, 0.0], "c": [0.0, 5.0], "d": [0.0, 5.1]}
    frame = pl.DataFrame({"item": list(vectors), "name": "image", "vector": list(vectors.values())})
    lake.overwrite("item_vectors", frame)
    titles = {"item": [*vectors, "e"], "title": ["mug A", None, "mug C", "mug D", "mug E"]}
    others = {name: pl.Series([None] * 5, dtype=pl.String) for name in ("category", "brand", "price", "extras")}
    lake.overwrite("items", pl.DataFrame({**titles, **others}))
    return lake


def fitted(settings: Settings, lake: Lake, **more: Any) -> Recipe:
    modality = fit_modality(load_plugins(settings), lake, CHOICE.model_copy(update=more), "en")
    return RECIPE.model_copy(update={"modality": modality})


def words_of(settings: Settings, lake: Lake, recipe: Recipe) -> dict[str, str]:
    words = item_words(load_plugins(settings), lake, recipe)
    assert words is not None
    return dict(words.iter_rows())


def read(settings: Settings, lake: Lake, recipe: Recipe) -> dict[str, Any]:
    users = pl.DataFrame({"user_key": [1]})
    items = read_items(lake, recipe, item_words(load_plugins(settings), lake, recipe))
    texts = read_users(lake, 0, recipe.window(AS_OF), recipe, textualizer=Mixed(), users=users, items=items).users
    features = dict(zip(feature_names(recipe), texts["features"][0], strict=True))
    return {"phrases": texts["phrases"][0].to_list(), "hash": texts["phrase_hash"][0], "features": features}


def test_new_items_get_their_words_from_the_stored_codebook(settings: Settings, lake: Lake) -> None:
    recipe = Recipe.model_validate_json(fitted(settings, lake).model_dump_json())
    before = words_of(settings, lake, recipe)
    assert before["a"] == before["b"] != before["c"] == before["d"]
    more = pl.DataFrame({"item": ["f", "g"], "name": ["image", "sound"], "vector": [[0.1, 4.0], [0.0, 0.0]]})
    lake.append("item_vectors", more)
    assert words_of(settings, lake, recipe) == before | {"f": before["c"]}


def test_a_new_fit_continues_with_the_codebook_of_the_parent(settings: Settings, lake: Lake) -> None:
    parent = fitted(settings, lake)
    lake.append("item_vectors", pl.DataFrame({"item": ["f"], "name": ["image"], "vector": [[-9.0, 9.0]]}))
    plugins = load_plugins(settings)
    assert fit_modality(plugins, lake, CHOICE, "en", parent) == parent.modality
    assert fit_modality(plugins, lake, CHOICE, "en") != parent.modality
    other = CHOICE.model_copy(update={"options": {"parts": 2, "codes": 2}})
    assert fit_modality(plugins, lake, other, "en", parent) != parent.modality


def test_every_text_has_the_words_of_its_items(settings: Settings, lake: Lake) -> None:
    fill(lake, *({"user_key": 1, "item": item} for item in ("a", "a", "b", "c", "e")))
    recipe = fitted(settings, lake)
    words = words_of(settings, lake, recipe)
    phrases = read(settings, lake, recipe)["phrases"]
    assert f"{words['a']} x4" in phrases  # three times, in steps of √2
    assert f"{words['c']} x2" in phrases
    text = " ".join(phrases)
    assert f"mug a {words['a']}" in text
    assert f"viewed {words['b']}" in text  # without a title
    assert "mug e" in text
    plain = read(settings, lake, RECIPE)
    assert not any(word in " ".join(plain["phrases"]) for word in words.values())
    changed = lake.scan("item_vectors").with_columns(vector=pl.lit([0.0, 5.0])).collect()
    lake.overwrite("item_vectors", changed)
    assert read(settings, lake, recipe)["hash"] != read(settings, lake, RECIPE)["hash"] == plain["hash"]


def test_shares_of_words_are_features(settings: Settings, lake: Lake) -> None:
    fill(lake, *({"user_key": 1, "item": item} for item in ("a", "a", "b", "c", "e")))
    recipe = fitted(settings, lake)
    words = words_of(settings, lake, recipe)
    recipe = recipe.model_copy(update={"words": (words["c"], words["a"], "never-look")})
    features = read(settings, lake, recipe)["features"]
    shares = [features[f"word:{word}"] for word in recipe.words]
    assert shares == [pytest.approx(0.25), pytest.approx(0.75), 0.0]
    lake.overwrite("item_vectors", lake.scan("item_vectors").head(0).collect())
    assert read(settings, lake, recipe)["features"][f"word:{words['c']}"] is None


def test_a_word_that_begins_like_another_is_another(settings: Settings, lake: Lake) -> None:
    from segadmin.text.features import _by_word

    events = pl.LazyFrame({"user_key": [1, 1], "words": ["look1a look2b", "look1ab look2b"]})
    shares = _by_word(events, ("look1a", "look2b", "ok2b")).collect().row(0)
    assert shares == (1, 0.5, 1.0, 0.0)


def test_words_are_counted_one_by_one() -> None:
    words = pl.DataFrame({"item": ["a", "b"], "words": ["x y", "x"]})
    assert single_words(words).rows() == [("a", "x"), ("a", "y"), ("b", "x")]


def test_without_vectors_or_with_several_the_fix_is_named(settings: Settings, lake: Lake) -> None:
    plugins = load_plugins(settings)
    with pytest.raises(DataError, match=r"No item has a vector 'img'\. Choose one with --modality-vector: image"):
        fitted(settings, lake, vector="img")
    lake.append("item_vectors", pl.DataFrame({"item": ["a"], "name": ["sound"], "vector": [[1.0]]}))
    with pytest.raises(DataError, match=r"several vectors\. Choose one with --modality-vector: image, sound"):
        fit_modality(plugins, lake, CHOICE, "en")
    assert fitted(settings, lake, vector="sound").modality.length == 1  # type: ignore[union-attr]
    lake.overwrite("item_vectors", lake.scan("item_vectors").head(0).collect())
    with pytest.raises(DataError, match="No item has a vector, which --modality visual-words reads"):
        fit_modality(plugins, lake, CHOICE, "en")
    with pytest.raises(ConfigurationError, match="'visual-words' cannot use codes='many'"):
        fit_modality(plugins, lake, CHOICE.model_copy(update={"options": {"codes": "many"}}), "en")


def test_another_version_of_the_modality_is_refused(settings: Settings, lake: Lake) -> None:
    recipe = fitted(settings, lake)
    assert recipe.modality is not None
    plugins = load_plugins(settings)
    check_recipe(plugins, recipe.model_copy(update={"textualizer_version": "1"}), "Model version 3")
    older = recipe.modality.model_copy(update={"version": "0"})
    with pytest.raises(ConfigurationError, match=r"Model version 3 reads words of .* 'visual-words' version 0"):
        check_recipe(plugins, recipe.model_copy(update={"modality": older}), "Model version 3")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (None, "returned NoneType from words"),
        ([["a"]], "returned 1 lists from words"),
        ([["a"], "b"], "returned 'b' from words"),
        ([["a"], [7]], r"returned \[7\] from words"),
        ([["a"], ["b c"]], "the word 'b c'"),
    ],
)
def test_what_is_no_list_of_words_is_refused(words: Any, message: str) -> None:
    with pytest.raises(PluginContractError, match=message):
        check_words(words, 2, "The modality 'mine'")


_PLUGIN = """
import segadmin

class Mine(segadmin.Modality):
    name = "mine"

    def fit(self, items):
        {fit}

    def words(self, codebook, vectors):
        return 1 / 0

@segadmin.hookimpl
def register_modalities():
    return [Mine]
"""


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        ("return 1 / 0", PluginError, r"The modality 'mine' of mine.py failed in fit\(\): ZeroDivisionError"),
        ("return {'centre': items.vectors[0]}", PluginContractError, "a codebook that is no JSON"),
        ("return [1]", PluginContractError, r"returned list from fit\(\), not a dict"),
        ("return {'much': 'x' * 5_000_000}", PluginContractError, "a codebook of 5,000,012 bytes"),
    ],
)
def test_a_modality_that_fails_is_named(
    settings: Settings, lake: Lake, tmp_path: Path, fit: str, error: type[Exception], message: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(_PLUGIN.format(fit=fit))
    plugins = load_plugins(settings.model_copy(update={"plugin_files": (path,)}))
    with pytest.raises(error, match=message):
        fit_modality(plugins, lake, ModalityChoice(name="mine"), "en")


def test_words_that_fail_are_named(settings: Settings, lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(_PLUGIN.format(fit="return {'n': len(items.vectors)}"))
    plugins = load_plugins(settings.model_copy(update={"plugin_files": (path,)}))
    modality = fit_modality(plugins, lake, ModalityChoice(name="mine"), "en")
    assert modality.codebook == {"n": 4}
    with pytest.raises(PluginError, match=r"'mine' of mine.py failed in words\(\): ZeroDivisionError"):
        item_words(plugins, lake, RECIPE.model_copy(update={"modality": modality}))


def test_the_vectors_of_a_fit_are_float32(settings: Settings, lake: Lake) -> None:
    vectors = lake.scan("item_vectors").collect()["vector"].list.to_array(2).to_numpy()
    assert vectors.dtype == np.float32
