"""Vectors of items, such as embeddings of pictures: reading cells, and checking that those of one name are as long."""

from __future__ import annotations

from collections.abc import Mapping as Names
from collections.abc import Sequence

import polars as pl

from segadmin.errors import ConfigurationError, DataError
from segadmin.events.cells import readable, without_missing
from segadmin.events.mapping import Mapping
from segadmin.events.row_checks import PROBLEM, Check
from segadmin.names import check_names
from segadmin.storage.lake import Lake

#: Prefix of the columns of vectors in cleaned rows: ``vector:image``.
VECTOR = "vector:"
TABLE = "item_vectors"
#: Characters of a cell that are shown in quarantine; the row has all of it.
_SHOWN = 60


def check_vectors(table: str, vectors: Names[str, str]) -> None:
    """Check the names of vectors.

    Raises:
        ConfigurationError: ``table`` has no vectors.
        DataError: a name cannot be used.
    """
    if vectors and table != "items":
        raise ConfigurationError(f"Only items have vectors, not {table}. Leave out {', '.join(vectors)}.")
    check_names("vector", vectors)


def with_vectors(
    chunk: pl.DataFrame, typed: pl.DataFrame, cells: pl.DataFrame, mapping: Mapping
) -> tuple[pl.DataFrame, pl.DataFrame, list[Check]]:
    """Return ``typed`` with the mapping's vectors, ``cells`` with what is wrong with them, and the checks of rows."""
    checks: list[Check] = []
    for name, source in mapping.vectors.items():
        column = VECTOR + name
        vectors, problems = read_vectors(chunk[source], mapping.nulls)
        typed = typed.with_columns(vectors.alias(column))
        cells = cells.with_columns(problems.alias(column))
        checks.append((pl.col(f"raw_{column}").is_not_null(), "bad_vector", column))
    return typed, cells, checks


def read_vectors(cells: pl.Series, nulls: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    """Return vectors, and what is wrong with those that cannot be used.

    Args:
        cells: lists or arrays of numbers, or their JSON text (``[0.5, -1.25]``).
        nulls: words for a missing cell.

    Returns:
        Vectors (List(Float32)), null if the cell is missing or wrong; and what is wrong with it (String), else null.
    """
    if cells.dtype.is_nested() and not is_vector(cells.dtype):
        cells = readable(cells.to_frame()).to_series()
    if cells.dtype == pl.String:
        cells = without_missing(cells, nulls)[0]
        numbers, shown = _numbers_of_text(cells), cells
    elif is_vector(cells.dtype):
        numbers = cells.cast(pl.List(pl.Float64))
        shown = pl.Series(dtype=pl.String).extend_constant(None, len(cells))
    else:
        numbers = pl.Series(dtype=pl.List(pl.Float64)).extend_constant(None, len(cells))
        shown = cells.cast(pl.String, strict=False)
    frame = pl.DataFrame({"cell": cells, "numbers": numbers, "shown": shown}).with_columns(
        vector=pl.col("numbers").cast(pl.List(pl.Float32))
    )
    wrong = pl.col("vector").list.eval(~pl.element().is_finite().fill_null(value=False))
    place = wrong.list.eval(pl.element().cast(pl.UInt8)).list.arg_max()
    at_place = pl.col("numbers").list.get(place, null_on_oob=True).cast(pl.String).fill_null("no number")
    problem = (
        pl.when(pl.col("cell").is_null())
        .then(None)
        .when(pl.col("vector").is_null())
        .then(pl.format("no list of numbers: {}", pl.col("shown").fill_null("").str.slice(0, _SHOWN)))
        .when(pl.col("vector").list.len() == 0)
        .then(pl.lit("an empty list"))
        .when(wrong.list.any())
        .then(pl.format("{} at place {}", at_place, place + 1))
    )
    read = frame.select("vector", problem=problem)
    return read.select(pl.when(pl.col("problem").is_null()).then("vector"))["vector"], read["problem"]


def is_vector(dtype: pl.DataType) -> bool:
    """Whether cells of this type are lists of numbers."""
    if not isinstance(dtype, pl.List | pl.Array):
        return False
    return isinstance(dtype.inner, pl.DataType) and dtype.inner.is_numeric()


def settle_lengths(lake: Lake, good: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows whose vectors are as long as those of the store, or else as most of the import, and the others.

    Args:
        lake: where the store's vectors are.
        good: cleaned items, with ``line`` and a column for each vector.
        names: of the vectors.

    Returns:
        The rows to keep, and the problem of each other row, with the columns of ``PROBLEM``.

    Raises:
        DataError: none is as long as those of the store.
    """
    bad = [pl.DataFrame(schema=PROBLEM)]
    for name in names:
        column = VECTOR + name
        length = good[column].list.len()
        expected = _stored_length(lake, name)
        if expected is None:
            expected = length.drop_nulls().value_counts(sort=True)[0, 0] if length.count() else 0
        elif length.count() and not (length == expected).any():
            raise DataError(
                f"The vectors {name!r} of this import have {length.drop_nulls()[0]} numbers; those in the store have "
                f"{expected}. Import them under another name: --vector {name}2={name}"
            )
        is_other = (length != expected).fill_null(value=False)
        value = pl.format("{} numbers instead of {}", pl.col(column).list.len(), pl.lit(expected))
        bad.append(
            good.filter(is_other).select("line", reason=pl.lit("vector_length"), column=pl.lit(column), value=value)
        )
        good = good.filter(~is_other)
    return good, pl.concat(bad).sort("line")


def put_vectors(lake: Lake, good: pl.DataFrame, names: Sequence[str]) -> None:
    """Add the vectors of cleaned items to the lake in one commit; they replace those of the same item and name."""
    imported = [
        good.select("item", name=pl.lit(name), vector=pl.col(VECTOR + name)).drop_nulls("vector") for name in names
    ]
    if any(frame.height for frame in imported):
        vectors = pl.concat([lake.scan(TABLE).collect(), *imported])
        lake.overwrite(TABLE, vectors.unique(["item", "name"], keep="last", maintain_order=True))


def vector_counts(lake: Lake) -> dict[str, int]:
    """Return the number of items that have a vector, by its name."""
    counts = lake.scan(TABLE).group_by("name").len().sort("name").collect()
    return dict(counts.iter_rows())


def _stored_length(lake: Lake, name: str) -> int | None:
    lengths = lake.scan(TABLE).filter(pl.col("name") == name).select(pl.col("vector").list.len()).head(1).collect()
    return lengths.item() if lengths.height else None


def _numbers_of_text(cells: pl.Series) -> pl.Series:
    """Return the numbers in JSON lists; null for other text, with null for an element that is no number."""
    inside = pl.col("cell").str.strip_prefix("[").str.strip_suffix("]").str.strip_chars()
    is_list = pl.col("cell").str.starts_with("[") & pl.col("cell").str.ends_with("]")
    elements = inside.str.split(",").list.eval(pl.element().str.strip_chars().cast(pl.Float64, strict=False))
    empty = pl.lit([], pl.List(pl.Float64))
    return (
        pl.DataFrame({"cell": cells})
        .select(pl.when(is_list & (inside == "")).then(empty).when(is_list).then(elements).alias("numbers"))
        .to_series()
    )
