"""The rows of every part of the split, as a backbone reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from segadmin.contracts.backbone import Examples
from segadmin.errors import StorageError
from segadmin.inference.clipping import Limits
from segadmin.jobs.attempt import Attempt
from segadmin.storage.schema import TIME
from segadmin.text.features import feature_names
from segadmin.workflows.prepared import Prepared


@dataclass(frozen=True)
class Dataset:
    """The parts of the split; ``test`` has a column ``unseen`` beside those of :class:`Examples`."""

    train: Examples
    validation: Examples
    test: Examples

    def within(self, limits: Limits) -> Dataset:
        """Return the same with no feature beyond its limits."""
        return Dataset(*(limits.clip(part) for part in (self.train, self.validation, self.test)))


def read_dataset(attempt: Attempt, prepared: Prepared) -> Dataset:
    """Join what textualize wrote with the split that prepare wrote.

    Raises:
        StorageError: labelled users have no text.
    """
    rows = read_split(attempt, prepared)
    texts = [attempt.read(one["training"]) for one in attempt.inputs["textualize"] if one["training"]]
    return Dataset(*(join(texts, rows, part, prepared) for part in ("train", "validation", "test")))


def read_also(attempt: Attempt, prepared: Prepared) -> dict[str, Examples]:
    """Return the rows of the other label sets that are learnt beside, by name."""
    texts = [attempt.read(one["training"]) for one in attempt.inputs["textualize"] if one["training"]]
    found = {}
    for name, beside in prepared.also.items():
        rows = attempt.read(beside.rows).with_columns(part=pl.lit("train"))
        found[name] = replace(join(texts, rows, "train", prepared), segments=beside.segments)
    return found


def rows_to_read(attempt: Attempt, prepared: Prepared) -> pl.DataFrame:
    """Return whom to read when: ``user_key``, ``observed_from``, ``as_of``; each user and moment once."""
    written = [one for one in (prepared.rows, *(beside.rows for beside in prepared.also.values())) if one]
    columns = ["user_key", "observed_from", "as_of"]
    if not written:
        return pl.DataFrame(schema={"user_key": pl.Int64, "observed_from": TIME, "as_of": TIME})
    rows = pl.concat([attempt.read(one).select(columns) for one in written])
    return rows.unique(["user_key", "as_of"], keep="first", maintain_order=True)


def augmented(attempt: Attempt, prepared: Prepared, train: Examples) -> Examples:
    """Return ``train`` with the copies that textualize wrote of its rows."""
    texts = [attempt.read(one["augmented"]) for one in attempt.inputs["textualize"] if one.get("augmented")]
    targets = train.frame.drop("phrases", "phrase_hash", "features", "bucket")
    copies = [text.join(targets, on=["user_key", "as_of"], how="inner").select(train.frame.columns) for text in texts]
    return replace(train, frame=pl.concat([train.frame, *copies]))


def read_split(attempt: Attempt, prepared: Prepared) -> pl.DataFrame:
    """Return the split: ``user_key``, ``as_of``, ``target``, ``part``, ``unseen``."""
    assert prepared.rows is not None, "prepare of this job writes no split"
    return attempt.read(prepared.rows)


def join(texts: Sequence[pl.DataFrame], rows: pl.DataFrame, part: str, prepared: Prepared) -> Examples:
    """Return the rows of ``part`` with their texts and features, as ``Examples``."""
    wanted = rows.filter(pl.col("part") == part)
    # Joined piece by piece: the texts are what is big.
    joined = [text.join(wanted, on=["user_key", "as_of"], how="inner") for text in texts]
    frame = pl.concat(joined).sort("as_of", "user_key") if joined else wanted.head(0)
    if frame.height != wanted.height:
        raise StorageError(
            f"{wanted.height - frame.height} of {wanted.height} rows to learn from have no text. Make it again: "
            "segadmin jobs retry JOB --from-start"
        )
    return Examples(frame, prepared.segments, feature_names(prepared.recipe))
