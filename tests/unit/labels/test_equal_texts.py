"""Users with the same text are not in training and in the test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segadmin.contracts.backbone import Examples
from segadmin.errors import DataError
from segadmin.evaluation.metrics import one_vs_rest_auroc
from segadmin.labels.equal_texts import COMMON_USERS, held_out_texts, separate_equal_texts
from segadmin.labels.parts import EqualTexts
from segadmin.labels.split import check_parts, split_rows
from segadmin.text.fingerprint import phrase_hash
from segadmin.text.reader import NOTHING
from segadmin.training.dataset import Dataset, text_hashes

START = datetime(2025, 1, 6, tzinfo=UTC)
SEGMENTS = ("low", "high")
FITTED = ("train", "validation", "test")


def rows_of(parts: str, texts: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a split and its texts: a row for each letter, of another user each, in the order of their keys.

    ``T``, ``V``, ``E``, ``L`` and ``P`` are in train, validation, test, learnt and purged; ``.`` is no text.
    """
    names = {"T": "train", "V": "validation", "E": "test", "L": "learnt", "P": "purged"}
    keys = pl.DataFrame({"user_key": range(len(parts))}, schema={"user_key": pl.Int64}).with_columns(as_of=START)
    hashes = [None if text == "." else ord(text) for text in texts]
    split = keys.with_columns(part=pl.Series([names[part] for part in parts]), target=0, unseen=pl.lit(value=True))
    return split, keys.with_columns(text=pl.Series(hashes, dtype=pl.Int64))


def letters(split: pl.DataFrame) -> str:
    return "".join({"test": "E", "duplicate": "-"}.get(part, part[0].upper()) for part in split["part"])


@pytest.mark.parametrize(
    ("by", "parts", "texts", "separated"),
    [
        ("user", "TVET", "abcd", "TVET"),  # all different
        ("user", "TVE", "aaa", "T--"),  # the smallest key has it
        ("user", "ETVE", "aaaa", "E--E"),
        ("user", "VTET", "abab", "VT-T"),
        ("user", "TVE", "...", "TVE"),  # no events: no evidence of a copy
        ("time", "TVE", "aaa", "T-E"),  # later weeks repeat texts
        ("time", "VTE", "aaa", "V-E"),
        ("user", "EL", "aa", "-L"),  # the parent version was trained on it
        ("user", "PT", "aa", "PT"),  # a purged row is used nowhere
    ],
)  # fmt: skip
def test_the_part_of_the_smallest_key_has_the_text(by: str, parts: str, texts: str, separated: str) -> None:
    rows, counts = separate_equal_texts(*rows_of(parts, texts), by)
    assert letters(rows) == separated
    assert counts.left_out == separated.count("-")


def test_texts_rows_and_repetitions_are_counted() -> None:
    split, texts = rows_of("TTVEEEP", "aabacdb")
    rows, counts = separate_equal_texts(split, texts, "time")
    assert counts == EqualTexts(texts=1, rows=3, left_out=0, common_texts=0, common_rows=0, repeated=1)
    assert rows.filter(pl.col("part") == "test")["unseen"].to_list() == [False, True, True]


def test_a_user_who_does_the_same_again_is_no_copy() -> None:
    split, texts = rows_of("TE", "aa")
    later = START + timedelta(weeks=4)
    same_user = [frame.with_columns(user_key=7, as_of=pl.Series([START, later])) for frame in (split, texts)]
    rows, counts = separate_equal_texts(*same_user, "time")
    assert letters(rows) == "TE"
    assert (counts.texts, counts.repeated) == (0, 0)


def test_a_common_text_is_split_like_any_other() -> None:
    few, many = COMMON_USERS, COMMON_USERS + 1
    rows, counts = separate_equal_texts(*rows_of("TE" * few + "TE" * many, "a" * 2 * few + "b" * 2 * many), "user")
    assert set(letters(rows)) == {"T", "E"} and counts.common_texts == 2
    half = "TE" * (few // 2)
    rows, counts = separate_equal_texts(*rows_of(half + "TE" * many, "a" * len(half) + "b" * 2 * many), "user")
    assert letters(rows) == "T-" * (few // 2) + "TE" * many
    assert (counts.common_texts, counts.common_rows) == (1, 2 * many)
    assert rows["text"].drop_nulls().to_list() == [ord("a")] * len(half)


@given(st.text("TVE", min_size=1, max_size=40), st.data(), st.sampled_from(["time", "user"]))
def test_no_text_is_in_two_parts_and_none_is_lost(parts: str, data: st.DataObject, by: str) -> None:
    texts = data.draw(st.text("abcdef", min_size=len(parts), max_size=len(parts)))
    split, hashes = rows_of(parts, texts)
    rows, counts = separate_equal_texts(split, hashes, by)
    used = rows.filter(pl.col("part") != "duplicate")
    compared = used if by == "user" else used.filter(pl.col("part") != "test")
    if not counts.common_texts:
        assert compared.group_by("text").agg(pl.col("part").n_unique())["part"].max() in {None, 1}
        assert set(used["text"]) == set(hashes["text"])
        assert not set(held_out_texts(rows, by)) & set(used.filter(pl.col("part") == "train")["text"])
    moved = rows.filter(pl.col("part") != split["part"])
    assert moved.is_empty() or set(moved["part"]) == {"duplicate"}


def copies(users: int, each: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return labels and texts: ``each`` users in a row have a text and a random segment in common."""
    random = np.random.default_rng(0)
    keys = random.permutation(users) * 7919 - 10_000
    group = np.arange(users) // each
    segments = random.integers(2, size=group.max() + 1)[group]
    labels = pl.DataFrame({"user_key": keys, "segment": [SEGMENTS[n] for n in segments]}).with_columns(
        as_of=START, outcome_until=START
    )
    phrases = pl.Series([[f"text {n}"] for n in group])
    texts = labels.select("user_key", "as_of").with_columns(
        phrases=phrases, phrase_hash=phrase_hash(phrases), features=pl.lit([], pl.List(pl.Float32)), bucket=0
    )
    return labels, texts


def memorised_auroc(train: Examples, test: Examples) -> float | None:
    """Return the test AUROC of a model that knows the texts of training by heart, and nothing else."""
    known = {tuple(phrases): target for phrases, target in train.frame.select("phrases", "target").iter_rows()}
    scores = np.array([known.get(tuple(phrases), 0.5) for phrases in test.frame["phrases"]])
    return one_vs_rest_auroc(scores, test.targets == 1)


def test_a_model_that_memorises_texts_is_perfect_with_copies_in_the_test_and_at_chance_without() -> None:
    labels, texts = copies(users=2_000, each=10)
    split = split_rows(labels, SEGMENTS, "user", 17, {})
    separated, counts = separate_equal_texts(split, text_hashes([texts], "en"), "user")
    assert (counts.texts, counts.rows) == (200, 2_000)
    before, after = (Dataset.of([texts], rows, SEGMENTS, ()) for rows in (split, separated.drop("text")))
    assert memorised_auroc(before.train, before.test) == pytest.approx(1, abs=0.02)
    assert memorised_auroc(after.train, after.test) == 0.5
    assert memorised_auroc(after.train, after.validation) == 0.5
    assert len(after.train) > 0.6 * len(before.train) and len(after.test) > 50


def test_users_without_events_have_no_text_in_common() -> None:
    _, texts = copies(users=4, each=2)
    nobody = pl.Series([[NOTHING["zh"]]] * 4)
    silent = texts.with_columns(phrases=nobody, phrase_hash=phrase_hash(nobody))
    assert text_hashes([silent], "zh")["text"].null_count() == 4
    assert text_hashes([silent], "en")["text"].null_count() == 0
    assert text_hashes([texts], "zh")["text"].n_unique() == 2


def test_a_split_that_copies_leave_too_small_is_refused_with_the_reason() -> None:
    labels, texts = copies(users=200, each=20)
    split = split_rows(labels, SEGMENTS, "user", 17, {})
    rows, _ = separate_equal_texts(split, text_hashes([texts], "en"), "user")
    small = rows.with_columns(part=pl.when(pl.col("part") == "test").then(pl.lit("duplicate")).otherwise("part"))
    with pytest.raises(DataError, match=r"leave 0 for test, 5 are needed; \d+ rows whose text is that of another user"):
        check_parts(small, SEGMENTS, "user")
