"""Formats of times that a mapping names, as Python's ``strptime`` has them; and which ones fit some cells."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product

#: What a format may have. Of two readings of one cell the format decides, never the cell.
_DIRECTIVES = frozenset("YymdHIMSfpbBaAjzT%")
_MOMENT = datetime(2011, 12, 30, 17, 5, 9, tzinfo=UTC)
#: Cells that a format must fit to be proposed.
_SAMPLE = 200

_DATES = (
    *(form.replace("/", sign) for sign in "/.-" for form in ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y")),
    *(form.replace(" ", sign) for sign in " -/" for form in ("%d %b %Y", "%d %B %Y", "%d %b %y", "%Y %b %d")),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%Y.%m.%d", "%y-%m-%d", "%y/%m/%d"),
    *("%a, %d %b %Y", "%a %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y"),
)
_TIMES = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%H.%M", "%H.%M.%S", "%Hh%M")
_BETWEEN = (" ", ", ", "T", ":", " at ")
_OTHERS = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%H:%M %d/%m/%Y", "%H:%M:%S %d/%m/%Y")


def check_format(form: str) -> str:
    """Return ``form``, or raise ``ValueError``: it has something unknown, or says no whole date."""
    unknown = [sign for sign in re.findall(r"%(.?)", form.replace("%%", "")) if sign not in _DIRECTIVES or not sign]
    if unknown:
        raise ValueError(f"the time format {form!r} has %{unknown[0]}, which strptime does not read")
    plain = form.replace("%T", "%H:%M:%S")
    try:
        read = datetime.strptime(_MOMENT.strftime(plain), plain)
    except ValueError:
        read = None
    if read is None or read.date() != _MOMENT.date():
        raise ValueError(f"the time format {form!r} gives no day, month and year, as %Y-%m-%d does")
    return form


def polars_format(form: str) -> str | None:
    """Return a format as Polars writes it; ``None`` where only Python reads it (``%S,%f``, hours without minutes)."""
    translated = form.replace(".%f", "%.f")
    bare_hour = re.search("%[HI]", form) and not re.search("%[MT]", form)
    return None if "%f" in translated or bare_hour else translated


def fitting_formats(cells: Sequence[str]) -> list[str]:
    """Return the formats in which all of ``cells`` are times: several where day and month cannot be told apart."""
    sample = list(dict.fromkeys(cell.strip() for cell in cells))[:_SAMPLE]
    if not sample:
        return []
    east = "+".join(sample[0].rsplit("-", 1))  # the outline of an offset is that of +0000
    likely = [form for text in dict.fromkeys((sample[0], east)) for form in _candidates().get(_outline(text), [])]
    return [form for form in likely if all(_fits(cell, form) for cell in sample)]


@lru_cache
def _candidates() -> dict[str, list[str]]:
    """Return the formats that are proposed, by the outline of what they read: to try all of them takes a second."""
    forms = [*_DATES, *_OTHERS]
    for date, time, between in product(_DATES, filter(None, _TIMES), _BETWEEN):
        forms += [f"{date}{between}{time}", f"{date}{between}{time} %z"]
    found: dict[str, list[str]] = defaultdict(list)
    for form in forms:
        found[_outline(_MOMENT.strftime(form))].append(form)
    return found


def _outline(text: str) -> str:
    """Return ``text`` with 0 for each number and a for each word."""
    numbers = re.sub(r"\d+", "0", re.sub(r"(?<=[+-]\d\d):(?=\d\d$)", "", text))
    return re.sub(r"[^\W\d_]+", "a", numbers)


def _fits(cell: str, form: str) -> bool:
    try:
        datetime.strptime(cell, form)
    except ValueError:
        return False
    return True
