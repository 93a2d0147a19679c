"""The rows of every part of the split, in the form that a backbone reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.errors import StorageError
from segadmin.inference.clipping import Limits
from segadmin.labels.parts import Part
from segadmin.settings import Language
from segadmin.text.fingerprint import phrase_hash
from segadmin.text.reader import NOTHING

#: Columns of texts that the split does not have.
_TEXT_COLUMNS = ("phrases", "phrase_hash", "features", "bucket")


@dataclass(frozen=True)
class Dataset:
    """The parts of the split; ``test`` has an additional column ``unseen``."""

    train: Examples
    validation: Examples
    test: Examples

    @classmethod
    def of(
        cls, texts: Sequence[pl.DataFrame], split: pl.DataFrame, segments: tuple[str, ...], features: tuple[str, ...]
    ) -> Dataset:
        """Join texts with the split.

        Args:
            texts: frames of ``user_key, as_of, phrases, phrase_hash, features, bucket``.
            split: as :func:`segadmin.labels.equal_texts.separate_equal_texts` returns it.
            segments: in the order of the targets.
            features: the names of the features, in order.

        Raises:
            StorageError: labelled users have no text.
        """
        parts = ((Part.TRAIN, Part.CORRECTED), (Part.VALIDATION,), (Part.TEST,))
        rows = (split.filter(pl.col("part").is_in([part.value for part in each])) for each in parts)
        return cls(*(labelled(texts, repeated(each), segments, features) for each in rows))

    def within(self, limits: Limits) -> Dataset:
        """Return the dataset with features clipped to ``limits``."""
        return Dataset(*(limits.clip(part) for part in (self.train, self.validation, self.test)))


def repeated(rows: pl.DataFrame) -> pl.DataFrame:
    """Return ``rows`` as often as their ``weight``, if they have one: so every backbone counts them accordingly."""
    if "weight" not in rows.columns:
        return rows
    return rows.select(pl.all().repeat_by("weight").explode()).drop("weight")


def text_hashes(texts: Sequence[pl.DataFrame], language: Language) -> pl.DataFrame:
    """Return ``user_key``, ``as_of`` and ``text``: a hash of each text, null for users without events."""
    nothing = phrase_hash(pl.Series([[NOTHING[language]]])).item()
    text = pl.when(pl.col("phrase_hash") != nothing).then("phrase_hash").alias("text")
    return pl.concat(frame.select("user_key", "as_of", text) for frame in texts)


def labelled(
    texts: Sequence[pl.DataFrame], rows: pl.DataFrame, segments: tuple[str, ...], features: tuple[str, ...]
) -> Examples:
    """Return labelled ``rows`` (``user_key``, ``as_of``, ``target``) with their texts and features.

    Raises:
        StorageError: some have no text.
    """
    # Joined frame by frame to save memory, as the texts are large.
    joined = [text.join(rows, on=["user_key", "as_of"], how="inner") for text in texts]
    frame = pl.concat(joined).sort("as_of", "user_key") if joined else rows.head(0)
    if frame.height != rows.height:
        raise StorageError(
            f"{rows.height - frame.height} of {rows.height} labelled rows have no text. Textualize again: "
            "segadmin jobs retry JOB --from-start"
        )
    return Examples(frame, segments, features)


def with_copies(train: Examples, copies: Sequence[pl.DataFrame]) -> Examples:
    """Return ``train`` with augmented copies of its rows, which have texts of their own."""
    targets = train.frame.drop(*_TEXT_COLUMNS)
    rows = [text.join(targets, on=["user_key", "as_of"], how="inner").select(train.frame.columns) for text in copies]
    return replace(train, frame=pl.concat([train.frame, *rows]))
