"""Reading CSV files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from segadmin.errors import DataError
from segadmin.events.source import Source


class Csv(Source):
    """CSV in UTF-8, with a header; compressed (``.gz``, ``.zst``) as well. Tabs in ``.tsv``."""

    name = "csv"
    suffixes = (".csv", ".tsv", ".csv.gz", ".csv.zst")
    first_line = 2

    def chunks(self, path: Path, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows, every cell as a string."""
        separator = "\t" if ".tsv" in path.name.lower() else ","
        try:
            scan = pl.scan_csv(path, infer_schema=False, separator=separator, encoding="utf8")
            scan = scan.rename(_names(path, scan.collect_schema().names()))
            yield from scan.collect_batches(chunk_size=rows, maintain_order=True)
        except pl.exceptions.NoDataError:
            raise DataError(f"{path} is empty.") from None
        except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{path} cannot be read as CSV: {reason}. Is it UTF-8 (iconv -f GB18030 -t UTF-8), "
                "with as many cells in every line as in the header, and every quote closed?"
            ) from None


def _names(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Return each name without the spaces around it, where that leaves names different."""
    if any("\ufffd" in name for name in header):  # Polars puts it for bytes that are not UTF-8
        raise DataError(f"{path} cannot be read as CSV: its header is not UTF-8 (iconv -f GB18030 -t UTF-8).")
    stripped = [name.strip() for name in header]
    return dict(zip(header, stripped, strict=True)) if len(set(stripped)) == len(stripped) else {}
