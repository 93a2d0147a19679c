"""Cleaning of text that people wrote: markup, control characters, full-width letters and digits. Emoji stay."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable

import polars as pl

_ENTITY = r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
#: Prefilter for markup; it also matches text such as 3 <b.
_LIKELY_HTML = rf"{_ENTITY}|<[A-Za-z/!?]"
#: Maximum number of times that shops escape HTML.
_UNESCAPED = 2
#: For Polars' regular expressions; Python's take hours for a text of repeated ``<!--``.
_HIDDEN = r"(?is)<script\b.*?</script\s*>|<style\b.*?</style\s*>|<!--.*?-->|<!doctype\b[^<>]*>|<\?xml\b[^<>]*\?>"
#: The elements of HTML, including obsolete ones, and of inline SVG.
_ELEMENT = re.compile(
    "a|abbr|acronym|address|applet|area|article|aside|audio|b|base|basefont|bdi|bdo|big|blink|blockquote|body|br|"
    "button|canvas|caption|center|circle|cite|code|col|colgroup|data|datalist|dd|defs|del|details|dfn|dialog|dir|"
    "div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|frame|frameset|g|h1|h2|h3|h4|h5|h6|head|"
    "header|hgroup|hr|html|i|iframe|img|input|ins|kbd|label|legend|li|line|link|main|map|mark|marquee|math|menu|"
    "meta|meter|nav|nobr|noframes|noscript|object|ol|optgroup|option|output|p|param|path|picture|polygon|"
    "polyline|pre|progress|q|rect|rp|rt|ruby|s|samp|script|section|select|slot|small|source|span|strike|strong|"
    "style|sub|summary|sup|svg|table|tbody|td|template|text|textarea|tfoot|th|thead|time|title|tr|track|tspan|tt|"
    "u|ul|use|var|video|wbr",
    re.IGNORECASE,
)
_VALUE = r"""[A-Za-z_:@][\w:.@-]*\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=`]+)"""
_FLAG = (
    "allowfullscreen|async|autofocus|autoplay|checked|controls|default|defer|disabled|download|hidden|ismap|itemscope|"
    "loop|multiple|muted|nomodule|noshade|novalidate|nowrap|open|readonly|required|reversed|selected"
)
#: A tag with its slash and name; words after the name must be attributes, because a<b and c>d is not a tag.
_TAG = re.compile(rf"<(/?)([A-Za-z][\w:.-]*)(?:\s+(?:{_VALUE}|(?i:{_FLAG})(?=[\s/>])))*\s*/?>")
#: Control characters and marks of direction, but not tab, line breaks, or U+200D, which joins emoji.
_CONTROL = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF\uFFFE\uFFFF]"
_WIDE = {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F) if chr(code).isalnum()} | {"\u3000": " "}


def _without_html(cells: pl.Series) -> pl.Series:
    """Return the text of HTML cells; cells without markup stay unchanged."""
    unescaped = pl.Series(cells.name, [_unescape(cell) for cell in cells.to_list()], dtype=pl.String)
    without_hidden = unescaped.str.replace_all(_HIDDEN, " ")
    plain = pl.Series(cells.name, [_without_tags(cell) for cell in without_hidden.to_list()], dtype=pl.String)
    return cells.zip_with(plain == cells, plain.str.replace_all(r"[ \t\u00A0]+", " "))


def _unescape(text: str) -> str:
    for _ in range(_UNESCAPED):
        text = re.sub(_ENTITY, lambda entity: html.unescape(entity[0]), text)
    return text


def _without_tags(text: str) -> str:
    closed = {tag[2] for tag in _TAG.finditer(text) if tag[1]}  # elements of other markup languages
    return _TAG.sub(lambda tag: " " if _ELEMENT.fullmatch(tag[2]) or tag[2] in closed else tag[0], text)


#: Name, pattern and fix of each rule.
_RULES: tuple[tuple[str, str, Callable[[pl.Series], pl.Series]], ...] = (
    ("html", _LIKELY_HTML, _without_html),
    ("control_characters", _CONTROL, lambda cells: cells.str.replace_all(_CONTROL, "")),
    ("full_width", r"[０-９Ａ-Ｚａ-ｚ\u3000]", lambda cells: cells.str.replace_many(_WIDE)),
)


def tidy(cells: pl.Series) -> tuple[pl.Series, Counter[str]]:
    """Return cleaned ``cells`` (String), blank ones as null, and how many cells each rule changed."""
    changes: Counter[str] = Counter()
    if cells.null_count() == len(cells):
        return cells, changes
    for name, pattern, fix in _RULES:
        rows = cells.str.contains(pattern).fill_null(value=False).arg_true()
        if len(rows):
            before = cells[rows]
            after = fix(before).str.strip_chars()
            cells = cells.clone().scatter(rows, after)
            changes[name] += int((before != after).sum())
    if +changes:
        cells = cells.set(cells == "", None)
    return cells, +changes
