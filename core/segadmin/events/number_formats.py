"""How shops write numbers: signs, currencies, brackets, and which sign is the decimal one.

``1,250`` is 1250 to one shop and 1.25 to another, so a cell alone decides nothing. :func:`examine` collects what the
cells of a column show, :func:`choose` decides for the whole column, and :func:`parse` reads it in that one way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import polars as pl

from segadmin.errors import DataError

#: The codes of ISO 4217 that shops use, and RMB, which is none of them.
_CODES = (
    "AED|ARS|AUD|BDT|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KES|KRW|KZT|MAD|MXN|"
    "MYR|NGN|NOK|NZD|PEN|PHP|PKR|PLN|RMB|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
_CURRENCY = rf"(?:[A-Za-z]{{0,3}}\p{{Sc}}|(?i:{_CODES}|kr\.?|rs\.?|fr\.?|руб\.?|р\.|zł|kč)|[元円圆])"
#: What of a cell is the currency, and the other ways of writing one.
_NAMED = rf"([A-Za-z]{{0,3}}\p{{Sc}}|(?i:{_CODES}|kr|rs|fr|руб|р\.|zł|kč)|[元円圆])"
_ALSO = {
    **{"USD": "$", "US$": "$", "EUR": "€", "GBP": "£", "INR": "₹", "RS": "₹", "RUB": "₽", "РУБ": "₽", "Р.": "₽"},
    **{"CNY": "¥", "RMB": "¥", "JPY": "¥", "CN¥": "¥", "JP¥": "¥", "元": "¥", "円": "¥", "圆": "¥"},
    **{"CHF": "FR", "PLN": "ZŁ", "CZK": "KČ", "SEK": "KR", "NOK": "KR", "DKK": "KR", "KRW": "₩", "TRY": "₺"},
}
#: Brackets and signs around the digits; a bracket or a minus before or behind them makes the number negative. A sign
#: before all of it keeps a spreadsheet from reading a number.
_MONEY = (
    rf"^['`]?\s*{_CURRENCY}?\s*(\()?\s*([+-])?\s*{_CURRENCY}?\s*([+-])?\s*"
    r"([0-9.,][0-9.,' ]*?(?:[eE][+-]?[0-9]+)?)"
    rf"\s*{_CURRENCY}?\s*(-)?\s*(\))?\s*{_CURRENCY}?$"
)
#: Signs that NFKC leaves: the true minus, dashes, and the apostrophes that Swiss shops use.
_PLAIN_SIGNS = {"−": "-", "–": "-", "’": "'", "‘": "'", "٬": "'"}
_SWAPPED = {",": ".", ".": ","}
#: A number as every program writes it.
_OWN = r"^[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?$"

DecimalSign = Literal[".", ","]
#: ``point`` and ``comma`` are proof of that decimal sign; of the other two both readings are possible.
Shown = Literal["point", "comma", "either_comma", "either_point"]


@dataclass(frozen=True)
class Example:
    """A cell that shows something, and where it is."""

    cell: str
    line: int


#: What the cells of a column show, with the first example of each.
Evidence = Mapping[Shown, Example]


@dataclass(frozen=True)
class Convention:
    """How the numbers of a column are read."""

    decimal: DecimalSign = "."
    thousands: str | None = None  #: the only sign between thousands; default: any that the decimal sign leaves
    sure: bool = True  #: False: a cell that can be read in two ways is not read at all


def examine(cells: pl.Series, lines: pl.Series, thousands: str | None, *, typed: bool) -> dict[Shown, Example]:
    """Return what ``cells`` (String) show of the decimal sign.

    Args:
        cells: a column, or part of it.
        lines: where each cell is.
        thousands: the sign between thousands where it is known.
        typed: the source has numbers of its own, written with a point, so that ``1.250`` is 1.25.
    """
    digits = _split(cells)["digits"]
    separated = digits.str.contains(r"[.,]")
    point = digits.str.contains(_form(".", thousands))
    comma = digits.str.contains(_form(",", thousands))
    if typed:
        comma &= ~digits.str.contains(_OWN)
    has_comma = digits.str.contains(",", literal=True)
    masks: dict[Shown, pl.Series] = {
        "point": separated & point & ~comma,
        "comma": separated & comma & ~point,
        "either_comma": separated & point & comma & has_comma,
        "either_point": separated & point & comma & ~has_comma,
    }
    places = {shown: mask.fill_null(value=False).arg_max() for shown, mask in masks.items() if mask.any()}
    return {shown: Example(cells[place], lines[place]) for shown, place in places.items() if place is not None}


def currencies_in(cells: pl.Series, lines: pl.Series) -> dict[str, Example]:
    """Return the currencies that stand beside the numbers in ``cells`` (String), each with its first example."""
    numbers = _split(cells)["digits"].is_not_null()
    named = cells.str.normalize("NFKC").str.extract(_NAMED).str.to_uppercase().replace(_ALSO)
    found = pl.DataFrame({"name": named, "cell": cells, "line": lines}).filter(numbers & named.is_not_null())
    return {name: Example(cell, line) for name, cell, line in found.unique("name", keep="first").iter_rows()}


def choose(evidence: Evidence, thousands: str | None, field: str) -> Convention:
    """Return how to read a column whose cells show ``evidence``; not ``sure`` where that is open.

    Raises:
        DataError: some cells show a decimal point and others a decimal comma.
    """
    if "comma" in evidence and "point" in evidence:
        raise DataError(
            f"The numbers in {field} are written in two ways: {_shown(evidence['point'])} has a decimal point, "
            f"{_shown(evidence['comma'])} a decimal comma. Choose one, and the other cells go to quarantine: "
            "--decimal . or --decimal ,"
        )
    if "comma" in evidence:
        return Convention(",", thousands)
    return Convention(".", thousands, sure="point" in evidence or "either_comma" not in evidence)


def refuse_open(evidence: Evidence, field: str) -> None:
    """Raise ``DataError`` where nothing in the column shows which of two readings is right."""
    if not choose(evidence, None, field).sure:
        example = evidence["either_comma"]
        whole, half = (example.cell.replace(",", sign) for sign in ("", "."))
        raise DataError(
            f"In {field}, {_shown(example)} can be {whole} or {half}, and no other cell shows which. "
            f"Add --decimal . for {whole}, or --decimal , for {half}."
        )


def refuse_mixed(currencies: Mapping[str, Example]) -> None:
    """Raise ``DataError`` where prices are in several currencies: they would be added up as if they were one."""
    if len(currencies) > 1:
        examples = ", ".join(_shown(example) for example in sorted(currencies.values(), key=lambda one: one.line)[:5])
        raise DataError(
            f"Prices are in several currencies: {examples}. Give the currency of each row in a column, "
            "--map currency=COLUMN, and what each is worth under [rates] in the mapping file. "
            "If they are one: --set currency=NAME"
        )


def parse(cells: pl.Series, convention: Convention, *, typed: bool) -> pl.Series:
    """Return ``cells`` (String) as Float64; null where a cell is no number in this convention."""
    if convention.decimal == ".":
        plain = cells.cast(pl.Float64, strict=False)
    else:  # a point would be read as the decimal one: only digits and one comma are plain
        without_point = cells.to_frame("c").select(pl.when(~pl.col("c").str.contains(".", literal=True)).then("c"))
        plain = without_point.to_series().str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    rest = (plain.is_null() & cells.is_not_null()).arg_true()
    if rest.is_empty():
        return plain
    return plain.scatter(rest, _formatted(cells[rest], convention, typed=typed))


def _formatted(cells: pl.Series, convention: Convention, *, typed: bool) -> pl.Series:
    """Read cells that are more than digits and a decimal sign."""
    split = _split(cells)
    digits = split["digits"]
    fits = digits.str.contains(_form(convention.decimal, convention.thousands))
    if not convention.sure:
        fits &= ~(digits.str.contains(",", literal=True) & digits.str.contains(_form(",", convention.thousands)))
    bare = digits if convention.decimal == "." else digits.str.replace_many(_SWAPPED)
    bare = bare.str.replace_all(r"[,' ]", "")
    if typed and convention.decimal == ",":  # of 1.125, nobody can tell which of the two it is
        own = digits.str.contains(_OWN).fill_null(value=False)
        fits, bare = fits ^ own, digits.zip_with(own, bare)
    values = bare.cast(pl.Float64, strict=False)
    frame = pl.DataFrame({"value": values, "fits": fits, "negative": split["negative"]})
    signed = pl.when("negative").then(-pl.col("value")).otherwise("value")
    return frame.select(pl.when("fits").then(signed)).to_series()


def _split(cells: pl.Series) -> pl.DataFrame:
    """Return ``digits``, with what separates them, and whether the number is ``negative``; null where it is none."""
    text = cells.str.normalize("NFKC").str.replace_many(_PLAIN_SIGNS).str.strip_chars().alias("text")
    groups = text.to_frame().select(pl.col("text").str.extract_groups(_MONEY)).unnest("text")
    bracket, first, second, digits, behind, close = (pl.col(str(n)) for n in range(1, 7))
    signs = sum((sign.fill_null("") == "-").cast(pl.UInt8) for sign in (first, second, behind))
    brackets = bracket.is_not_null()
    fits = (brackets == close.is_not_null()) & (signs + brackets.cast(pl.UInt8) <= 1)
    return groups.select(digits=pl.when(fits).then(digits.str.strip_chars()), negative=(signs > 0) | brackets)


@lru_cache
def _form(decimal: DecimalSign, thousands: str | None) -> str:
    """Return the pattern of a number's digits in a convention."""
    point, comma = ((r"\.", ","), (",", r"\."))[decimal == ","]
    between = [comma, " ", "'"] if thousands is None else [thousands.replace(".", r"\.")] if thousands else []
    groups = [rf"[1-9][0-9]{{0,2}}(?:{sign}[0-9]{{3}})+" for sign in between]
    if decimal == "." and "," in between:  # India: 12,34,567
        groups.append(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")
    plain = rf"[0-9]+(?:{point}[0-9]+)?(?:[eE][+-]?[0-9]+)?|{point}[0-9]+"
    grouped = rf"|(?:{'|'.join(groups)})(?:{point}[0-9]+)?" if groups else ""
    return rf"^(?:{plain}{grouped})$"


def _shown(example: Example) -> str:
    return f"{example.cell!r} (line {example.line})"
