from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from segadmin.text.tokens import PhraseCache, encode_phrases


def letters(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer whose tokens are letters."""
    return [[ord(letter) for letter in text] for text in texts]


def encoded(users: list[list[str]], max_tokens: int) -> tuple[list[str], dict[str, int]]:
    tokens = encode_phrases(pl.Series(users, dtype=pl.List(pl.String)), PhraseCache(letters), max_tokens)
    return ["".join(map(chr, ids)) for ids in tokens.ids], tokens.truncation


def naive(users: list[list[str]], max_tokens: int) -> list[str]:
    """Phrase by phrase, until one does not fit."""
    texts = []
    for phrases in users:
        kept = ""
        for n, phrase in enumerate(phrases):
            if len(kept) + len(phrase) > max_tokens:
                kept = phrase[:max_tokens] if n == 0 else kept
                break
            kept += phrase
        texts.append(kept)
    return texts


def test_whole_phrases_are_dropped_and_nothing_behind_them_is_kept() -> None:
    texts, report = encoded([["abc", "defg", "h"], ["abc", "de"], ["abc", "h"]], 5)
    assert texts == ["abc", "abcde", "abch"]
    assert report == {"users": 3, "users_truncated": 1, "tokens": 12, "tokens_dropped": 5, "distinct_phrases": 4}


def test_a_first_phrase_that_is_too_long_is_cut_inside() -> None:
    texts, report = encoded([["abcdefgh", "i"]], 5)
    assert texts == ["abcde"]
    assert (report["users_truncated"], report["tokens_dropped"]) == (1, 4)


def test_users_without_phrases_have_no_tokens() -> None:
    nothing = {"users_truncated": 0, "tokens": 0, "tokens_dropped": 0, "distinct_phrases": 0}
    assert encoded([], 5) == ([], {"users": 0, **nothing})
    assert encoded([[], []], 5) == (["", ""], {"users": 2, **nothing})
    assert encoded([[], ["ab"], []], 5)[0] == ["", "ab", ""]


def test_every_distinct_phrase_is_tokenized_once() -> None:
    tokenized: list[str] = []

    def encode(texts: Sequence[str]) -> list[list[int]]:
        tokenized.extend(texts)
        return letters(texts)

    encode_phrases(pl.Series([["牛奶", "面包"], ["面包", "牛奶", "面包"]]), PhraseCache(encode), 100)
    assert sorted(tokenized) == ["牛奶", "面包"]


_PHRASES = st.lists(st.lists(st.text("ab牛", max_size=4), max_size=5), max_size=6)


@given(_PHRASES, st.integers(1, 9))
def test_it_agrees_with_a_plain_implementation(users: list[list[str]], max_tokens: int) -> None:
    texts, report = encoded(users, max_tokens)
    assert texts == naive(users, max_tokens)
    whole = ["".join(phrases) for phrases in users]
    assert report["tokens_dropped"] == sum(map(len, whole)) - sum(map(len, texts))
    assert report["users_truncated"] == sum(text != full for text, full in zip(texts, whole, strict=True))


@given(_PHRASES, st.integers(0, 3))
def test_a_part_of_a_larger_column_reads_the_same(users: list[list[str]], first: int) -> None:
    column = pl.Series(users, dtype=pl.List(pl.String))
    part = encode_phrases(column[first:], PhraseCache(letters), 6)
    assert ["".join(map(chr, ids)) for ids in part.ids] == naive(users[first:], 6)


@given(_PHRASES, _PHRASES, st.integers(1, 9), st.integers(0, 12))
def test_a_cache_that_is_used_again_or_starts_again_changes_nothing(
    first: list[list[str]], second: list[list[str]], max_tokens: int, most: int
) -> None:
    cache = PhraseCache(letters, most_tokens=most, most_phrases=most)
    for users in (first, second, first):
        tokens = encode_phrases(pl.Series(users, dtype=pl.List(pl.String)), cache, max_tokens)
        assert ["".join(map(chr, ids)) for ids in tokens.ids] == naive(users, max_tokens)


def test_a_phrase_is_tokenized_once_in_all_calls() -> None:
    texts: list[str] = []

    def encode(batch: Sequence[str]) -> list[list[int]]:
        texts.extend(batch)
        return letters(batch)

    cache = PhraseCache(encode)
    for users in ([["milk", "bread"]], [["bread", "tea"]]):
        encode_phrases(pl.Series(users), cache, 100)
    assert texts == ["milk", "bread", "tea"]


@given(_PHRASES, st.lists(st.integers(0, 9), max_size=2), st.lists(st.integers(0, 9), max_size=2))
def test_ids_around_a_text(users: list[list[str]], before: list[int], after: list[int]) -> None:
    tokens = encode_phrases(
        pl.Series(users, dtype=pl.List(pl.String)), PhraseCache(letters), 6, before=before, after=after, empty=[7]
    )
    expected = [[*before, *map(ord, text), *after] or [7] for text in naive(users, 6)]
    assert [ids.tolist() for ids in tokens.ids] == expected


def test_a_missing_phrase_does_not_shift_other_texts() -> None:
    tokens = encode_phrases(pl.Series([["ab", None, "c"], ["de"]], dtype=pl.List(pl.String)), PhraseCache(letters), 9)
    assert ["".join(map(chr, ids)) for ids in tokens.ids] == ["abc", "de"]
