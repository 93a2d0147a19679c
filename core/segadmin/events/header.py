"""Telling a header from a row of data, where a file may have no header."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: What stands in cells, but hardly in names: numbers, and dates more hardly still.
_NUMBER = re.compile(r"[-+]?\d+([.,:/ T-]\d+)*Z?")
_DATE = re.compile(r"(\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T]+\d.*)?|1\d{9}(\d{3})?")


def looks_like_data(names: Iterable[str]) -> bool:
    """Whether a file's first line has a date among its cells, or is numbers for at least half; blanks are no cells."""
    cells = [name.strip() for name in names if name.strip()]
    numbers = sum(bool(_NUMBER.fullmatch(cell)) for cell in cells)
    return len(cells) > 1 and (2 * numbers >= len(cells) or any(_DATE.fullmatch(cell) for cell in cells))
