"""The tables of pages as CSV. They are read from the page itself, so a file has the rows that a reader sees."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

from segadmin.events.formulas import escape_formula

#: Elements that have no end tag, and those whose text is no value of a cell.
_VOID = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
_NO_VALUE = {"button", "option", "script", "select", "svg", "template", "textarea"}
#: Where a new line begins in a cell.
_LINES = {"br", "div", "li", "p", "small"}
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SIGNED = re.compile(r"\+\d+(?:\.\d+)?")
_MISSING = {"–", "—"}


@dataclass
class PageTable:
    """A table of a page."""

    heading: str = ""  #: of its section, or its caption
    head: list[list[str]] = field(default_factory=list)  #: the rows of column titles at its beginning
    body: list[list[str]] = field(default_factory=list)
    more: str = ""  #: the address of the page on which it continues; empty: nowhere

    @property
    def rows(self) -> list[list[str]]:
        """All rows; columns without a title and a value are left out if the table is whole."""
        rows = [*self.head, *self.body]
        if self.more:
            return rows
        width = max(map(len, rows), default=0)
        used = [n for n in range(width) if any(n < len(row) and row[n] for row in rows)]
        return [[row[n] for n in used if n < len(row)] for row in rows]


def read_table(html: str, number: int) -> tuple[str, PageTable] | None:
    """Return the title of a page and its table ``number``, counted from 1; ``None`` if it has no such table."""
    reader = _TableReader(number)
    reader.feed(html)
    reader.close()
    return (" ".join(reader.title.split()), reader.table) if reader.table is not None else None


def as_csv(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV in which no cell is a formula."""
    text = io.StringIO()
    csv.writer(text).writerows([escape_formula(cell) for cell in row] for row in rows)
    return text.getvalue()


class _TableReader(HTMLParser):
    """Reads one table of a page that this program has written, so that all its tags are closed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.title, self.table = "", None  # type: str, PageTable | None
        self._number, self._count = number, 0
        self._heading, self._into = "", ""  # what the text belongs to: title, heading, caption or cell
        self._row: list[str] = []
        self._is_head = True
        self._cell: list[str] = []
        self._numeric, self._span, self._spoken = False, 1, ""
        self._hidden = 0  #: the depth of elements whose text is no value

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if self._hidden:
            self._hidden += tag not in _VOID
        elif self._has_no_value(tag, attributes.get("class", "").split()):
            self._hidden = 1
            self._spoken = self._spoken or attributes.get("aria-label", "")
        elif tag in {"h1", "h2", "h3"}:
            self._into, self._heading = ("title" if tag == "h1" else "heading"), ""
        elif tag == "table":
            self._count += 1
            if self._is_here:
                self.table = PageTable(" ".join(self._heading.split()))
        elif tag == "a" and attributes.get("rel") == "next" and self._is_here and self.table:
            self.table.more = attributes.get("href", "")
        elif self._is_here:
            self._open(tag, attributes)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._hidden -= 1
        elif tag in {"h1", "h2", "h3", "caption"}:
            self._into = ""
        elif tag in {"td", "th"} and self._is_here and self._into == "cell":
            self._close_cell()
        elif tag == "tr" and self._is_here and self.table and self._row:
            first = self._is_head and not self.table.body
            (self.table.head if first else self.table.body).append(self._row)
        elif tag in _LINES and self._into == "cell":
            self._cell.append("\n")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._into == "title":
            self.title += data
        elif self._into == "heading":
            self._heading += data
        elif self._into == "caption" and self.table:
            self.table.heading = " ".join(f"{self.table.heading} {data}".split())
        elif self._into == "cell":
            self._cell.append(data)

    @property
    def _is_here(self) -> bool:
        return self._count == self._number

    def _has_no_value(self, tag: str, classes: Sequence[str]) -> bool:
        """Whether an element is a control: a form in a cell, what opens one, or a cell by which a row is chosen."""
        in_cell = tag == "form" and self._into == "cell"
        return (
            tag in _NO_VALUE or in_cell or (tag in {"details", "td", "th"} and bool({"action", "choose"} & {*classes}))
        )

    def _open(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "tr":
            self._row, self._is_head = [], True
        elif tag in {"td", "th"}:
            self._into, self._cell, self._spoken = "cell", [], ""
            self._is_head &= tag == "th"
            self._numeric = "n" in attributes.get("class", "").split()
            self._span = int(attributes.get("colspan") or 1)
        elif tag == "caption":
            self._into = "caption"
        elif tag in _LINES and self._into == "cell":
            self._cell.append("\n")

    def _close_cell(self) -> None:
        lines = [" ".join(line.split()) for line in "".join(self._cell).split("\n")]
        text = "; ".join(line for line in lines if line)
        column = len(self._row)
        has_title = self.table is not None and any(column < len(row) and row[column] for row in self.table.head)
        self._row.append(_value(text, is_number=self._numeric) or (self._spoken if has_title else ""))
        self._row += [""] * (self._span - 1)
        self._into = ""


def _value(text: str, *, is_number: bool) -> str:
    """Return the value of a cell; a number without separators and without a plus sign."""
    if text in _MISSING:
        return ""
    if is_number and _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return text[1:] if is_number and _SIGNED.fullmatch(text) else text
