"""Reading Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from segadmin.contracts.source import Source, check_names
from segadmin.errors import DataError
from segadmin_plugins.sources.parquet_schema import fixed_length_columns

#: Digits of each part of a UUID.
_PARTS = (8, 4, 4, 4, 12)


class Parquet(Source):
    """Parquet, of any column types; times without a zone are read in ``--timezone``, and UUIDs as text."""

    name = "parquet"
    suffixes = (".parquet", ".pq")
    columnar = True

    def chunks(self, where: str, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows with the file's own types."""
        try:
            scan = pl.scan_parquet(Path(where), glob=False)
            schema = scan.collect_schema()
            check_names(where, schema.names())
            texts = [
                _as_text(pl.col(name), is_uuid=is_uuid).alias(name)
                for name, is_uuid in fixed_length_columns(Path(where)).items()
                if schema.get(name) == pl.Binary
            ]
            yield from scan.with_columns(texts).collect_batches(chunk_size=rows, maintain_order=True)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError(f"{where} cannot be read as Parquet: {str(error).splitlines()[0]}.") from None


def _as_text(column: pl.Expr, *, is_uuid: bool) -> pl.Expr:
    """Return bytes in hexadecimal, a UUID with its hyphens; they are never decoded as text."""
    digits = column.bin.encode("hex")
    if not is_uuid:
        return digits
    parts = [digits.str.slice(sum(_PARTS[:n]), length) for n, length in enumerate(_PARTS)]
    return pl.concat_str(parts, separator="-")
