"""Product quantisation into words: the same for the same vector, and named after the titles nearby."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from segadmin.contracts.modality import ItemVectors
from segadmin.settings import Language
from segadmin.testing import sample_vectors
from segadmin_plugins.modalities.names import name_words, terms
from segadmin_plugins.modalities.quantization import Part, quantize
from segadmin_plugins.modalities.visual_words import VisualWords


def test_a_vector_has_the_same_words_from_a_stored_codebook() -> None:
    items = sample_vectors()
    modality = VisualWords(parts=3, codes=5)
    codebook = json.loads(json.dumps(modality.fit(items)))
    words = modality.words(codebook, items.vectors)
    assert modality.words(codebook, items.vectors[::-1].copy()) == words[::-1]
    assert {len(of_item) for of_item in words} == {3}
    assert len({word for of_item in words for word in of_item}) <= 15


def test_items_that_look_alike_share_words_and_others_do_not() -> None:
    items = sample_vectors()
    modality = VisualWords(parts=1, codes=3)
    words = [of_item[0] for of_item in modality.words(modality.fit(items), items.vectors)]
    assert len({*words[0::3]}) == len({*words[1::3]}) == len({*words[2::3]}) == 1
    assert set(words) == {"striped-look", "dotted-look", "plain-look"}
    assert (words[0], words[1], words[2]) == ("striped-look", "dotted-look", "plain-look")


@pytest.mark.parametrize(("language", "words"), [("en", {"look1a", "look1b"}), ("zh", {"外观1a", "外观1b"})])
def test_words_without_titles_are_neutral(language: Language, words: set[str]) -> None:
    items = sample_vectors(language=language, titles=False)
    modality = VisualWords(parts=1, codes=2)
    assert {of_item[0] for of_item in modality.words(modality.fit(items), items.vectors)} == words


def test_a_part_in_which_all_items_are_alike_has_no_word() -> None:
    vectors = np.zeros((10, 4), np.float32)
    vectors[:5, 0] = 1.0
    items = ItemVectors(vectors, pl.Series([None] * 10, dtype=pl.String), "en", 17)
    modality = VisualWords(parts=2, codes=4)
    words = modality.words(modality.fit(items), vectors)
    assert words[0] != words[9]
    assert {len(of_item) for of_item in words} == {1}
    alike = ItemVectors(vectors[:3], items.titles[:3], "en", 17)
    assert modality.words(modality.fit(alike), vectors[:3]) == [[], [], []]


def test_the_centres_are_those_of_the_planted_clusters() -> None:
    random = np.random.default_rng(3)
    planted = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    points = (np.repeat(planted, 200, axis=0) + random.normal(0, 0.1, (800, 2))).astype(np.float32)
    [part] = quantize(points, parts=1, codes=4, seed=1)
    found = part.centres[np.lexsort(part.centres.round().T)]
    assert np.allclose(found, planted[np.lexsort(planted.T)], atol=0.05)
    again = Part.of_json(json.loads(json.dumps(part.as_json())))
    assert np.array_equal(again.centres, part.centres)
    codes, distances = again.nearest(points)
    assert np.bincount(codes).tolist() == [200] * 4
    assert distances.max() < 0.5


def test_parts_cover_the_vector_and_are_not_more_than_its_numbers() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    assert [(part.start, part.end) for part in quantize(vectors, 2, 4, 0)] == [(0, 2), (2, 5)]
    assert len(quantize(vectors, 64, 4, 0)) == 5


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("Striped T-shirt no. 12", {"striped", "shirt"}),
        ("条纹衬衫 XL", {"条纹", "纹衬", "衬衫"}),
        ("Robe à pois", {"robe", "pois"}),
        ("12 34", set()),
    ],
)
def test_titles_are_cut_into_terms(title: str, found: set[str]) -> None:
    assert terms(title) == found


def test_a_term_names_one_code_and_one_that_is_everywhere_names_none() -> None:
    red, blue = ["red shirt"] * 10, ["blue shirt"] * 10
    titles = [*red, *blue]
    assert name_words([[red, blue], [red, titles]], titles, "en") == [["red-look", "blue-look"], ["look2a", "look2b"]]
    assert name_words([[red]], titles, "zh", "款") == [["red款"]]
    codes = name_words([[[]] * 28], [], "en")[0]
    assert (codes[25], codes[26], codes[27]) == ("look1z", "look1aa", "look1ab")
