"""Masking what tells who somebody is in free text, before it is stored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

import polars as pl

#: What a text must have for any of the rules: nearly no review has, so nearly none is looked at further.
_GUARD = r"@|\d[\d\s().\-]{5,}\d|\d+\.\d+\.\d+\.\d+|[路街道巷弄]\s*\d+\s*[号弄]"
# What is repeated has a bound, and what can be read in two ways is read in the first: a text made for it would take
# minutes otherwise.
_MAIL = re.compile(r"[\w.+\-]{1,64}@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+")
_LOGIN = re.compile(r"(?<=://)[^\s/@:]+:[^\s/@]+(?=@)")
_ADDRESS = re.compile(
    r"(?:(?>[\u4e00-\u9fff]{1,8}?(?:省|自治区|市|区|县|镇|乡))){0,4}"
    r"[\u4e00-\u9fff]{1,10}?(?:路|街道|街|大道|巷|弄|胡同)\s{0,8}\d{1,8}\s{0,8}[号弄]"
    r"(?:\s{0,8}[\u4e00-\u9fffA-Za-z]{0,6}\s{0,8}\d{1,8}\s{0,8}(?:号楼|栋|幢|座|单元|室|层|号)){0,4}"
)
_IDENTITY = re.compile(r"(?<![\dA-Za-z])[1-9]\d{5}(?:19|20)\d{9}[\dXx](?![\dA-Za-z])")
_CARD = re.compile(r"(?<![\d.+])\d(?:[ \-]?\d){12,18}(?![\d.])")
_IP = re.compile(r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])")
#: What may be a telephone number: seven digits to fifteen.
_NUMBER = re.compile(r"(?<!\d)\+?\d(?:[\s().\-]{0,3}\d){6,14}(?!\d)")
#: A text with more of them is a list of numbers: all are masked, for the library takes a millisecond for each.
_MANY_NUMBERS = 100
#: Whose national numbers are known without a country code.
_REGIONS = ("CN", "US")


def mask(cells: pl.Series) -> tuple[pl.Series, Counter[str]]:
    """Return ``cells`` (String) with ``[mail]``, ``[phone]`` and the like, and how many of each.

    Masked are mail addresses, telephone numbers (as the library phonenumbers tells them: with a country code, or of
    China or the USA), Chinese ID-card numbers and payment cards whose check digit is right, Chinese street addresses,
    IP addresses, and logins in URLs. Names are not: no list of names tells 高兴 the name from 高兴 the feeling.
    """
    masked: Counter[str] = Counter()
    found = cells.str.contains(_GUARD).fill_null(value=False).arg_true()
    if len(found) == 0:
        return cells, masked
    mended = [_masked(text, masked) for text in cells[found].to_list()]
    return cells.clone().scatter(found, pl.Series(mended, dtype=pl.String)), masked


def _masked(text: str, masked: Counter[str]) -> str:
    for name, pattern, is_one in _RULES:
        text = pattern.sub(lambda found, name=name, is_one=is_one: _put(found, name, is_one, masked), text)  # type: ignore[misc]
    pieces, last = [], 0
    for start, end in _telephones(text):
        pieces += [text[last:start], "[phone]"]
        last = end
        masked["phone"] += 1
    return "".join([*pieces, text[last:]])


def _put(found: re.Match[str], name: str, is_one: Callable[[str], bool], masked: Counter[str]) -> str:
    if not is_one(found[0]):
        return found[0]
    masked[name] += 1
    return f"[{name}]"


def _telephones(text: str) -> Iterator[tuple[int, int]]:
    """Yield where telephone numbers begin and end, in order."""
    import phonenumbers

    numbers = [match.span() for match in _NUMBER.finditer(text)]
    if len(numbers) > _MANY_NUMBERS:
        yield from numbers
        return
    spans = {
        (match.start, match.end)
        for region in _REGIONS
        for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.VALID)
    }
    last = 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= last:
            yield start, end
            last = end


def _is_identity(number: str) -> bool:
    """Whether the last sign is the check digit of GB 11643 (ISO 7064, MOD 11-2)."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper()


def _is_card(number: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(sign) for sign in reversed(number) if sign.isdigit()]
    doubled = (2 * digit - 9 * (digit > 4) for digit in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _always(_: str) -> bool:
    return True


_RULES: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("login", _LOGIN, _always),
    ("mail", _MAIL, _always),
    ("address", _ADDRESS, _always),
    ("identity", _IDENTITY, _is_identity),
    ("card", _CARD, _is_card),
    ("ip", _IP, _always),
)
