"""Keeps equal texts of different users in one part of the split, so that no test row is a copy of a training row.

Copies (one person with two accounts, a review posted twice, a bot) make a model that memorises texts look good. Rows
are left out, never moved: who was held out stays held out, so that auxiliary labels, the choice of features and
versions that continue from earlier ones are right as they are.
"""

from __future__ import annotations

import polars as pl

from segadmin.labels.parts import EqualTexts, Part, SplitBy

#: A text of more users than both is common, such as ``bought milk once``: users to be scored will have it too, so
#: knowing it is no leak, and a test without it would not be of the same users.
COMMON_USERS, COMMON_SHARE = 20, 0.001
_KEY = ["user_key", "as_of"]
_TRAINED = [Part.TRAIN.value, Part.LEARNT.value, Part.CORRECTED.value]


def separate_equal_texts(split: pl.DataFrame, texts: pl.DataFrame, by: str) -> tuple[pl.DataFrame, EqualTexts]:
    """Leave out rows whose text is in another part, with another user.

    The text stays in the part of the user with the smallest key. By time, no test row is left out, since later weeks
    repeat texts in use too; but none is ``unseen`` whose text was trained on.

    Args:
        split: as :func:`segadmin.labels.split.split_rows` returns it; other columns are kept.
        texts: ``user_key``, ``as_of``, ``text`` (Int64): a hash of the text, null for users without events.
        by: ``"time"`` or ``"user"``.

    Returns:
        ``split`` with new values of ``part`` and ``unseen``, and with ``text``, null also where it is common; and the
        counts.
    """
    text = pl.when(pl.col("part") != Part.PURGED).then("text")
    rows = split.join(texts.select(*_KEY, "text"), on=_KEY, how="left", maintain_order="left").with_columns(text)
    holders = pl.col("user_key").n_unique().over("text")
    has_text = pl.col("text").is_not_null()
    is_common = has_text & (holders > max(COMMON_USERS, COMMON_SHARE * rows["user_key"].n_unique()))
    is_equal = has_text & (holders > 1) & ~is_common
    rows = rows.with_columns(is_common=is_common, is_equal=is_equal)
    common, equal = rows.filter("is_common"), rows.filter("is_equal")
    rows = rows.with_columns(
        part=pl.when(pl.col("is_equal") & _is_elsewhere(by)).then(pl.lit(Part.DUPLICATE.value)).otherwise("part"),
        text=pl.when(~pl.col("is_common")).then("text"),
    ).drop("is_common", "is_equal")
    trained = rows.filter(pl.col("part").is_in(_TRAINED), pl.col("text").is_not_null())
    rows = rows.with_columns(
        unseen=pl.col("unseen") & ~pl.col("text").is_in(trained["text"].implode()).fill_null(value=False)
    )
    return rows, EqualTexts(
        texts=equal["text"].n_unique(),
        rows=equal.height,
        left_out=rows.filter(pl.col("part") == Part.DUPLICATE).height,
        common_texts=common["text"].n_unique(),
        common_rows=common.height,
        repeated=_repeated(rows.filter(pl.col("part") == Part.TEST), trained),
    )


def held_out_texts(split: pl.DataFrame, by: str) -> pl.Series:
    """Return the texts that nothing may be trained on, of what :func:`separate_equal_texts` returned."""
    is_held_out = pl.col("part") == Part.VALIDATION
    if by == SplitBy.USER:
        is_held_out |= pl.col("part") == Part.TEST
    return split.filter(is_held_out)["text"].drop_nulls().unique()


def _is_elsewhere(by: str) -> pl.Expr:
    """Return whether the text of a row stays in another part than the row's own."""
    separated = [*_TRAINED, Part.VALIDATION.value, *([Part.TEST.value] if by == SplitBy.USER else [])]
    trained, compared = (pl.col("part").is_in(parts) for parts in (_TRAINED, separated))
    own = pl.when(trained).then(pl.lit(Part.TRAIN.value)).when(compared).then("part")
    # What the parent version was trained on stays in training.
    order = (own.is_null(), pl.col("part") != Part.LEARNT, "user_key", "as_of")
    return (own != own.sort_by(*order).first().over("text")).fill_null(value=False)


def _repeated(test: pl.DataFrame, trained: pl.DataFrame) -> int:
    """Return the number of ``test`` rows whose text a row of another user in ``trained`` has."""
    others = trained.select("text", other="user_key").unique()
    pairs = test.join(others, on="text").filter(pl.col("user_key") != pl.col("other"))
    return pairs.select(_KEY).n_unique()
