"""Detection of whether the first line of a file is a header or data."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Patterns of cells that are rare in column names: numbers, and dates, which are rarer still.
_NUMBER = re.compile(r"[-+]?\d+([.,:/ T-]\d+)*Z?")
_DATE = re.compile(r"(\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T]+\d.*)?|1\d{9}(\d{3})?")


def looks_like_data(names: Iterable[str]) -> bool:
    """Whether at least half of the nonblank cells of a file's first line are numbers, or one of them is a date."""
    cells = [name.strip() for name in names if name.strip()]
    numbers = sum(bool(_NUMBER.fullmatch(cell)) for cell in cells)
    return len(cells) > 1 and (2 * numbers >= len(cells) or any(_DATE.fullmatch(cell) for cell in cells))
