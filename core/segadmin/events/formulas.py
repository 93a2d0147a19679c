"""Cells that spreadsheets interpret as formulas: escaped on export, and restored on import."""

from __future__ import annotations

import re

import polars as pl

#: The beginning of a formula, possibly after apostrophes; also full-width, as in Chinese and Japanese spreadsheets. A
#: plain number is not a formula.
_FORMULA = r"^'*[=+\-@＝＋－＠\t\r\n]"
_NUMBER = r"^[+-]?[0-9][0-9.,]*$"
#: The numbers of the program's own tables, such as ``-1.2e-05`` and ``-3.5%``.
_WRITTEN_NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*(e[+-]?[0-9]+)?%?")
_ESCAPED = r"^'+[=+\-@＝＋－＠\t\r\n]"


def escape_formulas(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return ``frame`` with an apostrophe before every text and column name that would be read as a formula."""
    schema = frame.collect_schema()
    texts = [pl.col(name) for name, dtype in schema.items() if dtype == pl.String]
    risky = [(text, text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)) for text in texts]
    cells = [pl.when(is_risky).then("'" + text).otherwise(text).name.keep() for text, is_risky in risky]
    return frame.with_columns(cells).rename({name: f"'{name}" for name in schema.names() if re.match(_FORMULA, name)})


def escape_formula(text: str) -> str:
    """Return a cell with an apostrophe before it if it would be read as a formula; numbers stay as they are."""
    return f"'{text}" if re.match(_FORMULA, text) and not _WRITTEN_NUMBER.fullmatch(text) else text


def unescape_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` as it was before :func:`escape_formulas`."""
    texts = [pl.col(name) for name, dtype in frame.schema.items() if dtype == pl.String]
    cells = [pl.when(text.str.contains(_ESCAPED)).then(text.str.slice(1)).otherwise(text) for text in texts]
    names = [name[1:] if re.match(_ESCAPED, name) else name for name in frame.columns]
    frame = frame.with_columns(cells)
    return frame.rename(dict(zip(frame.columns, names, strict=True))) if len(set(names)) == len(names) else frame
