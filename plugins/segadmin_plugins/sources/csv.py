"""Reading CSV files."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from segadmin.errors import DataError
from segadmin.events.source import Source


class Csv(Source):
    """CSV in UTF-8, with a header; compressed (``.gz``, ``.zst``) as well. Tabs in ``.tsv``."""

    name = "csv"
    suffixes = (".csv", ".tsv", ".csv.gz", ".csv.zst")

    def chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows, every cell as a string."""
        separator = "\t" if ".tsv" in path.suffixes else ","
        try:
            if path.suffix in {".csv", ".tsv"}:
                _check_encoding(path)
            scan = pl.scan_csv(path, infer_schema=False, separator=separator, encoding="utf8")
            yield from scan.collect_batches(chunk_size=rows, maintain_order=True)
        except pl.exceptions.NoDataError:
            raise DataError(f"{path} is empty.") from None
        except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{path} cannot be read as CSV: {reason}. Is it UTF-8 (iconv -f GB18030 -t UTF-8), "
                "with as many cells in every line as in the header?"
            ) from None


def _check_encoding(path: Path) -> None:
    """Polars reads a header in another encoding as if it were names; look at the first bytes ourselves."""
    with path.open("rb") as file:
        codecs.getincrementaldecoder("utf-8")().decode(file.read(65_536))
