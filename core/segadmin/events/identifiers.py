"""The ids of users, items and events: one id for one thing, whatever the file that it came in.

Tools that meet a missing id write all ids of the column as decimals, ``13085.0``. That is undone cell by cell and not
for a column as a whole: only so has an id the same form in every file, in every chunk and on the command line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import polars as pl

from segadmin.events.cells import GUARDED
from segadmin.invisible import visible, visible_cells

#: Whole numbers up to here are exact in a decimal.
_EXACT = 2**53
_DECIMAL = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
#: What a spreadsheet or a decimal leaves of a long number: 1.29403E+18.
_CUT = r"^[+-]?[0-9](?:[.,][0-9]+[eE][+-]?[0-9]{1,3}|[eE]\+[0-9]{2,3})$"
_NESTED = r"(?s)^(?:\{.*\}|\[.*\])$"
#: What any of the rules is for; nearly no id is, so nearly none is looked at further.
_ANY = r"^(?:[-+]?[0-9][0-9.,]*(?:\.0+|[eE][+-]?[0-9]+)$|[\{\[='`])|[\x00-\x08\x0E-\x1F\x7F]"
#: Signs before a cell that keep a spreadsheet from reading it as a number or a formula.
_MARKED = re.compile(r"'([0-9+=@-][^']*)|`([^`]+)")


@dataclass(frozen=True)
class Ids:
    """A column of ids, cleaned."""

    cells: pl.Series
    problems: dict[str, pl.Series]  #: reason → for each row, whether it is so
    changes: Counter[str]  #: rule → ids that it changed


def plain_id(given: str) -> str:
    """Return an id as it is stored: ``13085.0`` as ``13085``, ``="00123"`` and ``'00123`` as ``00123``."""
    bare = re.sub(GUARDED, r"\1", visible(given).strip())
    marked = _MARKED.fullmatch(bare)
    bare = marked[1] or marked[2] if marked else bare
    decimal = _DECIMAL.fullmatch(bare)
    return str(int(decimal[1])) if decimal and _is_exact(decimal[1]) else bare


def clean_ids(cells: pl.Series, numbers: pl.Series | None = None) -> Ids:
    """Return ``cells`` (String) as :func:`plain_id` writes them, and which of them stand for several things.

    Args:
        cells: the ids as text.
        numbers: the column as it came, where it was one of decimals.
    """
    changes: Counter[str] = Counter()
    if cells.null_count() == len(cells):
        return Ids(cells, {}, changes)
    seen = visible_cells(cells)
    if seen is not cells:
        changes["invisible"] += int(seen.ne_missing(cells).sum())
        cells = seen
    found = cells.str.contains(_ANY).fill_null(value=False).arg_true()
    cut = pl.Series([False]).new_from_index(0, len(cells))
    nested = cut.clone()
    if len(found):
        some = cells[found]
        plain = some.replace_strict(
            distinct := some.unique(), [plain_id(one) or None for one in distinct], return_dtype=pl.String
        )
        changes.update(_rules(some.filter(plain.ne_missing(some))))
        cells = cells.clone().scatter(found, plain)
        cut = cut.scatter(found, plain.str.contains(_CUT) | _beyond_exact(plain))
        nested = nested.scatter(found, _is_nested(plain))
    if numbers is not None:
        cut |= (numbers.abs() >= _EXACT).fill_null(value=False)
    problems = {"mangled_id": cut, "nested_id": nested}
    return Ids(cells, {reason: rows for reason, rows in problems.items() if rows.any()}, +changes)


def _rules(changed: pl.Series) -> Counter[str]:
    """Return how many of the ids that were changed each rule is for."""
    marked = changed.str.contains("^['`]")
    decimal = changed.str.contains(r"^[-0-9.]+$")
    counts = {"guarded_cell": marked.sum(), "decimal_id": decimal.sum(), "invisible": (~marked & ~decimal).sum()}
    return Counter({rule: int(count) for rule, count in counts.items()})


def _is_exact(number: str) -> bool:
    return len(number) <= 17 and abs(int(number)) < _EXACT


def _beyond_exact(cells: pl.Series) -> pl.Series:
    """Whether an id is still written as a decimal, so is too long for one."""
    return cells.str.contains(rf"^{_DECIMAL.pattern}$")


def _is_nested(cells: pl.Series) -> pl.Series:
    likely = cells.str.contains(_NESTED)
    found = likely.arg_true()
    if len(found):
        likely = likely.scatter(found, pl.Series([_is_json(cell) for cell in cells[found]], dtype=pl.Boolean))
    return likely


def _is_json(cell: str) -> bool:
    try:
        json.loads(cell)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True
