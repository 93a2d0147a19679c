"""Normalization of ids of users, items and events, so that an id has the same form in every file.

If a column has a missing id, some tools write all its ids as decimals, ``13085.0``. This is reversed for each cell, not
for whole columns, so that an id has the same form in every file, in every chunk and on the command line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import polars as pl

from segadmin.events.cells import GUARDED
from segadmin.invisible import IS_ASCII, visible, visible_cells

#: Integers up to this limit are exact in a float.
_EXACT = 2**53
_DECIMAL = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
#: A long number after conversion by a spreadsheet or to a float: 1.29403E+18.
_TRUNCATED = r"^[+-]?[0-9](?:[.,][0-9]+[eE][+-]?[0-9]{1,3}|[eE]\+[0-9]{2,3})$"
_NESTED = r"(?s)^(?:\{.*\}|\[.*\])$"
#: Prefilter for all rules; almost no id matches it, so almost none is examined further.
_PREFILTER = r"^(?:[-+]?[0-9][0-9.,]*(?:\.0+|[eE][+-]?[0-9]+)$|[\{\[='`])|[\x00-\x08\x0E-\x1F\x7F]"
#: Of a column of ids: whether all are of ASCII characters, and whether the prefilter matches any.
_FACTS = (IS_ASCII.alias("is_ascii"), pl.first().str.contains(_PREFILTER).any())
#: Prefixes that keep a spreadsheet from reading a cell as a number or a formula.
_MARKED = re.compile(r"'([0-9+=@-][^']*)|`([^`]+)")


@dataclass(frozen=True)
class Ids:
    """A column of ids, cleaned."""

    cells: pl.Series
    problems: dict[str, pl.Series]  #: reason → mask of the affected rows
    changes: Counter[str]  #: rule → ids that it changed


def plain_id(text: str) -> str:
    """Return the stored form of an id: ``13085`` for ``13085.0``, ``00123`` for ``="00123"`` and ``'00123``."""
    bare = re.sub(GUARDED, r"\1", visible(text).strip())
    marked = _MARKED.fullmatch(bare)
    bare = marked[1] or marked[2] if marked else bare
    decimal = _DECIMAL.fullmatch(bare)
    return str(int(decimal[1])) if decimal and _is_exact(decimal[1]) else bare


def clean_ids(cells: pl.Series, numbers: pl.Series | None = None) -> Ids:
    """Return ``cells`` (String) in the form of :func:`plain_id`, and which of them are ambiguous.

    Args:
        cells: the ids as text.
        numbers: the original column if it had floats.
    """
    changes: Counter[str] = Counter()
    if cells.null_count() == len(cells) or (numbers is None and _is_plain(cells)):
        return Ids(cells, {}, changes)
    without_invisible = visible_cells(cells)
    if without_invisible is not cells:
        changes["invisible"] += int(without_invisible.ne_missing(cells).sum())
        cells = without_invisible
    places = cells.str.contains(_PREFILTER).fill_null(value=False).arg_true()
    is_truncated = pl.Series([False]).new_from_index(0, len(cells))
    is_nested = is_truncated.clone()
    if len(places):
        raw = cells[places]
        plain = raw.replace_strict(
            distinct := raw.unique(), [plain_id(value) or None for value in distinct], return_dtype=pl.String
        )
        changes.update(_rules(raw.filter(plain.ne_missing(raw))))
        cells = cells.clone().scatter(places, plain)
        is_truncated = is_truncated.scatter(places, plain.str.contains(_TRUNCATED) | _beyond_exact(plain))
        is_nested = is_nested.scatter(places, _is_nested(plain))
    if numbers is not None:
        is_truncated |= (numbers.abs() >= _EXACT).fill_null(value=False)
    problems = {"mangled_id": is_truncated, "nested_id": is_nested}
    return Ids(cells, {reason: rows for reason, rows in problems.items() if rows.any()}, +changes)


def _is_plain(cells: pl.Series) -> bool:
    """Return whether no rule concerns any of ``cells``, which is faster than to try each."""
    is_ascii, any_matches = cells.to_frame().select(_FACTS).row(0)
    return bool(is_ascii) and not any_matches


def _rules(changed: pl.Series) -> Counter[str]:
    """Return how many ids each rule changed."""
    marked = changed.str.contains("^['`]")
    decimal = changed.str.contains(r"^[-0-9.]+$")
    counts = {"guarded_cell": marked.sum(), "decimal_id": decimal.sum(), "invisible": (~marked & ~decimal).sum()}
    return Counter({rule: int(count) for rule, count in counts.items()})


def _is_exact(number: str) -> bool:
    return len(number) <= 17 and abs(int(number)) < _EXACT


def _beyond_exact(cells: pl.Series) -> pl.Series:
    """Whether an id is still a decimal, because it is too long to convert exactly."""
    return cells.str.contains(rf"^{_DECIMAL.pattern}$")


def _is_nested(cells: pl.Series) -> pl.Series:
    is_nested = cells.str.contains(_NESTED)
    places = is_nested.arg_true()
    if len(places):
        is_nested = is_nested.scatter(places, pl.Series([_is_json(cell) for cell in cells[places]], dtype=pl.Boolean))
    return is_nested


def _is_json(cell: str) -> bool:
    try:
        json.loads(cell)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True
