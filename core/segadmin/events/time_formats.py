"""Time formats of mappings, in the notation of Python's ``strptime``, and detection of formats that fit cells."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product

#: Allowed directives. The format alone determines how an ambiguous cell is read.
_DIRECTIVES = frozenset("YymdHIMSfpbBaAjzT%")
_MOMENT = datetime(2011, 12, 30, 17, 5, 9, tzinfo=UTC)
#: Number of cells that a proposed format must fit.
_SAMPLE = 200

_DATES = (
    *(form.replace("/", separator) for separator in "/.-" for form in ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y")),
    *(form.replace(" ", separator) for separator in " -/" for form in ("%d %b %Y", "%d %B %Y", "%d %b %y", "%Y %b %d")),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%Y.%m.%d", "%y-%m-%d", "%y/%m/%d"),
    *("%a, %d %b %Y", "%a %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y"),
)
_TIMES = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%H.%M", "%H.%M.%S", "%Hh%M")
_BETWEEN = (" ", ", ", "T", ":", " at ")
_OTHERS = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%H:%M %d/%m/%Y", "%H:%M:%S %d/%m/%Y")


def check_format(form: str) -> str:
    """Return ``form``; raise ``ValueError`` if it has an unknown directive, or no complete date."""
    directives = re.findall(r"%(.?)", form.replace("%%", ""))
    unknown = [directive for directive in directives if directive not in _DIRECTIVES or not directive]
    if unknown:
        raise ValueError(f"the time format {form!r} has %{unknown[0]}, which strptime does not read")
    expanded = form.replace("%T", "%H:%M:%S")
    try:
        parsed = datetime.strptime(_MOMENT.strftime(expanded), expanded)
    except ValueError:
        parsed = None
    if parsed is None or parsed.date() != _MOMENT.date():
        raise ValueError(f"the time format {form!r} gives no day, month and year, as %Y-%m-%d does")
    return form


def polars_format(form: str) -> str | None:
    """Return a format in Polars' notation; ``None`` if only Python supports it (``%S,%f``, hours without minutes)."""
    translated = form.replace(".%f", "%.f")
    bare_hour = re.search("%[HI]", form) and not re.search("%[MT]", form)
    return None if "%f" in translated or bare_hour else translated


def fitting_formats(cells: Sequence[str]) -> list[str]:
    """Return the formats that fit all of ``cells``; several if day and month cannot be distinguished."""
    sample = list(dict.fromkeys(cell.strip() for cell in cells))[:_SAMPLE]
    if not sample:
        return []
    with_plus = "+".join(sample[0].rsplit("-", 1))  # offsets have the outline of +0000
    outlines = dict.fromkeys(map(_outline, dict.fromkeys((sample[0], with_plus))))
    candidates = [form for outline in outlines for form in _candidates().get(outline, [])]
    return [form for form in candidates if all(_fits(cell, form) for cell in sample)]


@lru_cache
def _candidates() -> dict[str, list[str]]:
    """Return outline → formats, because trying all formats takes a second."""
    forms = [*_DATES, *_OTHERS]
    for date, time, separator in product(_DATES, filter(None, _TIMES), _BETWEEN):
        forms += [f"{date}{separator}{time}", f"{date}{separator}{time} %z"]
    by_outline: dict[str, list[str]] = defaultdict(list)
    for form in forms:
        by_outline[_outline(_MOMENT.strftime(form))].append(form)
    return by_outline


def _outline(text: str) -> str:
    """Return ``text`` with ``0`` for each number and ``a`` for each word."""
    numbers = re.sub(r"\d+", "0", re.sub(r"(?<=[+-]\d\d):(?=\d\d$)", "", text))
    return re.sub(r"[^\W\d_]+", "a", numbers)


def _fits(cell: str, form: str) -> bool:
    try:
        datetime.strptime(cell, form)
    except ValueError:
        return False
    return True
