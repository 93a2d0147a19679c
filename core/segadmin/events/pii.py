"""Masking of personally identifiable information (PII) in free text before it is stored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import polars as pl

#: Prefilter for all rules; almost no review matches it, so almost none is examined further.
_GUARD = r"@|\d[\d\s().\-]{5,}\d|\d+\.\d+\.\d+\.\d+|[路街道巷弄]\s*\d+\s*[号弄]"
# Repetitions are bounded, and groups are atomic where possible: a malicious text could otherwise take minutes.
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
#: A possible telephone number: seven to fifteen digits.
_NUMBER = re.compile(r"(?<!\d)\+?\d(?:[\s().\-]{0,3}\d){6,14}(?!\d)")
#: A text with more numbers is a list of numbers. All are masked, because the library takes a millisecond for each.
_MANY_NUMBERS = 100
#: Regions whose numbers are recognized without a country code.
_REGIONS = ("CN", "US")


def mask(cells: pl.Series) -> tuple[pl.Series, Counter[str]]:
    """Return ``cells`` (String) with ``[mail]``, ``[phone]`` and the like, and how many of each.

    It masks mail addresses, telephone numbers (by the library phonenumbers: with a country code, or of China or the
    USA), Chinese ID-card numbers and payment cards with a valid check digit, Chinese street addresses, IP addresses,
    and logins in URLs. It does not mask names, because words such as 高兴 are both a name and an adjective.
    """
    counts: Counter[str] = Counter()
    if cells.null_count() == len(cells):
        return cells, counts
    rows = cells.str.contains(_GUARD).fill_null(value=False).arg_true()
    if len(rows) == 0:
        return cells, counts
    masked_texts = [_masked(text, counts) for text in cells[rows].to_list()]
    return cells.clone().scatter(rows, pl.Series(masked_texts, dtype=pl.String)), counts


def _masked(text: str, counts: Counter[str]) -> str:
    for name, pattern, is_valid in _RULES:
        text = pattern.sub(partial(_replacement, name=name, is_valid=is_valid, counts=counts), text)
    pieces, last = [], 0
    for start, end in _telephones(text):
        pieces += [text[last:start], "[phone]"]
        last = end
        counts["phone"] += 1
    return "".join([*pieces, text[last:]])


def _replacement(match: re.Match[str], name: str, is_valid: Callable[[str], bool], counts: Counter[str]) -> str:
    if not is_valid(match[0]):
        return match[0]
    counts[name] += 1
    return f"[{name}]"


def _telephones(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the telephone numbers in ``text``, in order."""
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
    """Whether the last character is the check digit of GB 11643 (ISO 7064, MOD 11-2)."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper()


def _is_card(number: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(character) for character in reversed(number) if character.isdigit()]
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
