"""Number formats of shops: signs, currencies, brackets, and decimal signs.

``1,250`` means 1250 for one shop and 1.25 for another, so a single cell is ambiguous. :func:`examine` collects evidence
from the cells of a column, :func:`choose` decides for the whole column, and :func:`parse` reads it accordingly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import polars as pl

from segadmin.errors import DataError

#: Common ISO 4217 codes, and RMB, which is not one.
_CODES = (
    "AED|ARS|AUD|BDT|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KES|KRW|KZT|MAD|MXN|"
    "MYR|NGN|NOK|NZD|PEN|PHP|PKR|PLN|RMB|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
_CURRENCY = rf"(?:[A-Za-z]{{0,3}}\p{{Sc}}|(?i:{_CODES}|kr\.?|rs\.?|fr\.?|руб\.?|р\.|zł|kč)|[元円圆])"
#: The pattern of a currency in a cell, and other notations → symbol.
_NAMED = rf"([A-Za-z]{{0,3}}\p{{Sc}}|(?i:{_CODES}|kr|rs|fr|руб|р\.|zł|kč)|[元円圆])"
_SYMBOLS = {
    **{"USD": "$", "US$": "$", "EUR": "€", "GBP": "£", "INR": "₹", "RS": "₹", "RUB": "₽", "РУБ": "₽", "Р.": "₽"},
    **{"CNY": "¥", "RMB": "¥", "JPY": "¥", "CN¥": "¥", "JP¥": "¥", "元": "¥", "円": "¥", "圆": "¥"},
    **{"CHF": "FR", "PLN": "ZŁ", "CZK": "KČ", "SEK": "KR", "NOK": "KR", "DKK": "KR", "KRW": "₩", "TRY": "₺"},
}
#: Brackets and signs around the digits; a bracket, or a minus before or after them, makes the number negative. A
#: leading apostrophe or backtick keeps a spreadsheet from reading a number.
_MONEY = (
    rf"^['`]?\s*{_CURRENCY}?\s*(\()?\s*([+-])?\s*{_CURRENCY}?\s*([+-])?\s*"
    r"([0-9.,][0-9.,' ]*?(?:[eE][+-]?[0-9]+)?)"
    rf"\s*{_CURRENCY}?\s*(-)?\s*(\))?\s*{_CURRENCY}?$"
)
#: Characters that NFKC does not replace: the minus sign, dashes, and Swiss apostrophes.
_PLAIN_SIGNS = {"−": "-", "–": "-", "’": "'", "‘": "'", "٬": "'"}
_SWAPPED = {",": ".", ".": ","}
#: A number in the notation of programming languages.
_PROGRAM_NUMBER = r"^[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?$"

DecimalSign = Literal[".", ","]
#: ``point`` and ``comma`` prove the decimal sign; the other two are ambiguous.
Shown = Literal["point", "comma", "either_comma", "either_point"]


@dataclass(frozen=True)
class Example:
    """A cell with evidence, and its line."""

    cell: str
    line: int


#: The evidence in a column, with the first example of each kind.
Evidence = Mapping[Shown, Example]


@dataclass(frozen=True)
class Convention:
    """The number format of a column."""

    decimal: DecimalSign = "."
    thousands: str | None = None  #: the only thousands separator; default: any except the decimal sign
    sure: bool = True  #: False: ambiguous cells become null


def examine(cells: pl.Series, lines: pl.Series, thousands: str | None, *, typed: bool) -> dict[Shown, Example]:
    """Return the evidence in ``cells`` (String) about the decimal sign.

    Args:
        cells: a column, or part of it.
        lines: line number of each cell.
        thousands: the thousands separator if it is known.
        typed: the source has a number type with a decimal point, so that ``1.250`` is 1.25.
    """
    digits = _split(cells)["digits"]
    separated = digits.str.contains(r"[.,]")
    point = digits.str.contains(_form(".", thousands))
    comma = digits.str.contains(_form(",", thousands))
    if typed:
        comma &= ~digits.str.contains(_PROGRAM_NUMBER)
    has_comma = digits.str.contains(",", literal=True)
    masks: dict[Shown, pl.Series] = {
        "point": separated & point & ~comma,
        "comma": separated & comma & ~point,
        "either_comma": separated & point & comma & has_comma,
        "either_point": separated & point & comma & ~has_comma,
    }
    rows = {shown: mask.fill_null(value=False).arg_max() for shown, mask in masks.items() if mask.any()}
    return {shown: Example(cells[row], lines[row]) for shown, row in rows.items() if row is not None}


def currencies_in(cells: pl.Series, lines: pl.Series) -> dict[str, Example]:
    """Return the currencies of the numbers in ``cells`` (String), each with its first example."""
    names = currency_symbols(cells)
    currencies = pl.DataFrame({"name": names, "cell": cells, "line": lines}).filter(names.is_not_null())
    return {name: Example(cell, line) for name, cell, line in currencies.unique("name", keep="first").iter_rows()}


def currency_symbols(cells: pl.Series) -> pl.Series:
    """Return the symbol of the currency of each number in ``cells`` (String); null if there is none."""
    plain = cells.cast(pl.Float64, strict=False)
    if plain.null_count() == cells.null_count():
        return cells.clear().extend_constant(None, len(cells))
    names = cells.str.normalize("NFKC").str.extract(_NAMED).str.to_uppercase().replace(_SYMBOLS)
    return names.set(_split(cells)["digits"].is_null(), None)


def is_known(currencies: pl.Series) -> pl.Series:
    """Return which of ``currencies`` (String, in capitals) are common codes or symbols; False for null."""
    is_sign = currencies.str.contains(rf"^{_NAMED}$").fill_null(value=False)
    return is_sign | currencies.is_in([*_CODES.split("|"), *_SYMBOLS.values()]).fill_null(value=False)


def is_currency(currencies: pl.Series, currency: str) -> pl.Series:
    """Return which of ``currencies`` (String, in capitals) is ``currency``: a symbol is any code that it stands for."""
    symbols, symbol = currencies.replace(_SYMBOLS), _SYMBOLS.get(currency, currency)
    has_symbol = (symbols == currencies) | (symbol == currency)
    return (currencies == currency) | (has_symbol & (symbols == symbol))


def choose(evidence: Evidence, thousands: str | None, field: str) -> Convention:
    """Return the convention for a column with ``evidence``; not ``sure`` if it is ambiguous.

    Raises:
        DataError: some cells have a decimal point and others a decimal comma.
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
    """Raise ``DataError`` if the number format of a column is ambiguous."""
    if not choose(evidence, None, field).sure:
        example = evidence["either_comma"]
        integer, fraction = (example.cell.replace(",", sign) for sign in ("", "."))
        raise DataError(
            f"In {field}, {_shown(example)} can be {integer} or {fraction}, and no other cell shows which. "
            f"Add --decimal . for {integer}, or --decimal , for {fraction}."
        )


def refuse_mixed(currencies: Mapping[str, Example]) -> None:
    """Raise ``DataError`` if prices are in several currencies, which must not be added up."""
    if len(currencies) > 1:
        ordered = sorted(currencies.values(), key=lambda example: example.line)
        examples = ", ".join(_shown(example) for example in ordered[:5])
        raise DataError(
            f"Prices are in several currencies: {examples}. Give the currency of each row in a column, "
            "--map currency=COLUMN, and what each is worth under [rates] in the mapping file. "
            "If they are one: --set currency=NAME"
        )


def parse(cells: pl.Series, convention: Convention, *, typed: bool) -> pl.Series:
    """Return ``cells`` (String) as Float64; null if a cell is not a number in this convention."""
    if convention.decimal == ".":
        plain = cells.cast(pl.Float64, strict=False)
    else:  # a point would be read as a decimal point, so only digits and one comma are plain
        without_point = cells.to_frame("c").select(pl.when(~pl.col("c").str.contains(".", literal=True)).then("c"))
        plain = without_point.to_series().str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    rest = (plain.is_null() & cells.is_not_null()).arg_true()
    if rest.is_empty():
        return plain
    return plain.scatter(rest, _formatted(cells[rest], convention, typed=typed))


def _formatted(cells: pl.Series, convention: Convention, *, typed: bool) -> pl.Series:
    """Parse cells with more than digits and a decimal sign."""
    split = _split(cells)
    digits = split["digits"]
    fits = digits.str.contains(_form(convention.decimal, convention.thousands))
    if not convention.sure:
        fits &= ~(digits.str.contains(",", literal=True) & digits.str.contains(_form(",", convention.thousands)))
    plain = digits if convention.decimal == "." else digits.str.replace_many(_SWAPPED)
    plain = plain.str.replace_all(r"[,' ]", "")
    if typed and convention.decimal == ",":  # 1.125 is ambiguous
        is_program_number = digits.str.contains(_PROGRAM_NUMBER).fill_null(value=False)
        fits, plain = fits ^ is_program_number, digits.zip_with(is_program_number, plain)
    values = plain.cast(pl.Float64, strict=False)
    frame = pl.DataFrame({"value": values, "fits": fits, "negative": split["negative"]})
    signed = pl.when("negative").then(-pl.col("value")).otherwise("value")
    return frame.select(pl.when("fits").then(signed)).to_series()


def _split(cells: pl.Series) -> pl.DataFrame:
    """Return ``digits`` with separators, null if a cell is not a number, and whether the number is ``negative``."""
    text = cells.str.normalize("NFKC").str.replace_many(_PLAIN_SIGNS).str.strip_chars().alias("text")
    groups = text.to_frame().select(pl.col("text").str.extract_groups(_MONEY)).unnest("text")
    bracket, first, second, digits, trailing, close = (pl.col(str(n)) for n in range(1, 7))
    signs = sum((sign.fill_null("") == "-").cast(pl.UInt8) for sign in (first, second, trailing))
    brackets = bracket.is_not_null()
    fits = (brackets == close.is_not_null()) & (signs + brackets.cast(pl.UInt8) <= 1)
    return groups.select(digits=pl.when(fits).then(digits.str.strip_chars()), negative=(signs > 0) | brackets)


@lru_cache
def _form(decimal: DecimalSign, thousands: str | None) -> str:
    """Return the pattern of a number's digits for a convention."""
    point, comma = ((r"\.", ","), (",", r"\."))[decimal == ","]
    separators = [comma, " ", "'"] if thousands is None else [thousands.replace(".", r"\.")] if thousands else []
    groups = [rf"[1-9][0-9]{{0,2}}(?:{separator}[0-9]{{3}})+" for separator in separators]
    if decimal == "." and "," in separators:  # India: 12,34,567
        groups.append(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")
    plain = rf"[0-9]+(?:{point}[0-9]+)?(?:[eE][+-]?[0-9]+)?|{point}[0-9]+"
    grouped = rf"|(?:{'|'.join(groups)})(?:{point}[0-9]+)?" if groups else ""
    return rf"^(?:{plain}{grouped})$"


def _shown(example: Example) -> str:
    return f"{example.cell!r} (line {example.line})"
