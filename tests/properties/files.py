"""Generated files of every format, and what an independent reader makes of them.

A file is made of logical rows; it is written by the standard library, pyarrow, deltalake or sqlite3, and read back by
the same, never by segadmin or Polars. What each row must become is worked out from the cells that come back.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from deltalake import DeltaTable, write_deltalake
from hypothesis import strategies as st

FIELDS = ("user", "kind", "item", "at", "quantity", "price", "text")
NULLS = (
    *("\\N", "NULL", "null", "NaN", "nan", "NaT", "<NA>", "undefined", "[object Object]"),
    *("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"),
)
SHANGHAI = ZoneInfo("Asia/Shanghai")

#: Written time → its instant, naive ones being those of ``Asia/Shanghai``; None where it is no time.
TIMES: dict[str, datetime | None] = {
    "2026-01-31": datetime(2026, 1, 31, tzinfo=SHANGHAI),
    "2026/1/31 8:05": datetime(2026, 1, 31, 8, 5, tzinfo=SHANGHAI),
    "2026-01-31 08:30:00.5": datetime(2026, 1, 31, 8, 30, 0, 500_000, tzinfo=SHANGHAI),
    "2026-01-31T08:30:00Z": datetime(2026, 1, 31, 8, 30, tzinfo=UTC),
    "2026-01-31T08:30:00+05:30": datetime(2026, 1, 31, 8, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "2026年1月31日": datetime(2026, 1, 31, tzinfo=SHANGHAI),
    "1769848200": datetime.fromtimestamp(1_769_848_200, UTC),
    "1769848200123": datetime.fromtimestamp(1_769_848_200.123, UTC),
    "someday": None,
    "31.01.2026x": None,
    "1970-01-01": None,
    "2226-01-01": None,
    "": None,
}
KINDS = {"view": "view", "购买": "purchase", "CART": "cart", "wishlist": None, "": None}

_IDS = st.one_of(
    st.sampled_from(
        ["u1", "张伟", "00123", "13085", "13085.0", "-7.0", "1.10", "9007199254740993", " u1 ", "a,b;c\td", "x'y\"z"]
    ),
    st.sampled_from(["", " ", *NULLS]),
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cn"]), min_size=1, max_size=8
    ).filter(lambda text: text[0] not in "'`"),  # which guard cells from spreadsheets
)
_NUMBERS = st.one_of(
    st.decimals(0, 100_000, places=2).map(str),
    st.integers(0, 10_000).map(str),
    st.sampled_from(["", "\\N", "x", "1.2.3", "twelve", "1e3", "0", "007"]),
)
_PRICES = st.one_of(_NUMBERS, st.decimals(-1000, -1, places=2).map(str))
_TEXTS = st.one_of(
    st.sampled_from(["", "好", "a,b;c\td|e", 'say "hi"', "two\nlines", "two\r\nlines", "=1+1", "1,5", "👍"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Co", "Cn"]), max_size=20),
)


@dataclass(frozen=True)
class Row:
    """One logical row; every cell as text, empty where there is none."""

    user: str
    kind: str
    item: str
    at: str
    quantity: str
    price: str
    text: str


ROWS = st.lists(
    st.builds(
        Row,
        user=_IDS,
        kind=st.sampled_from(["view", "view", "购买", "CART", *KINDS]),
        item=_IDS,
        at=st.sampled_from([*[time for time, instant in TIMES.items() if instant], *TIMES]),
        quantity=_NUMBERS,
        price=_PRICES,
        text=_TEXTS,
    ),
    min_size=1,
    max_size=12,
)


@dataclass
class Expected:
    """What an independent reader says that an import must make of a file."""

    rows: int
    events: list[tuple[Any, ...]] = field(default_factory=list)  #: user, kind, item, at, quantity, price, text
    bad: list[tuple[int | None, frozenset[str]]] = field(default_factory=list)  #: line, the reasons that are true


def expect(cells: Iterator[tuple[int | None, dict[str, Any] | str]]) -> Expected:
    """Return what must become of the rows that an independent reader gives: their line, and their cells or a reason."""
    expected = Expected(0)
    seen: set[tuple[Any, ...]] = set()
    for line, row in cells:
        expected.rows += 1
        if isinstance(row, str):
            expected.bad.append((line, frozenset({row})))
            continue
        event, reasons = _event(row)
        if not reasons and event in seen:
            reasons = {"duplicate_event"}
        if reasons:
            expected.bad.append((line, frozenset(reasons)))
        else:
            seen.add(event)
            expected.events.append(event)
    return expected


def _event(row: dict[str, Any]) -> tuple[tuple[Any, ...], set[str]]:
    user, item = (identity(row.get(name)) for name in ("user", "item"))
    kind = KINDS.get(text_of(row.get("kind")) or "")
    at = instant(row.get("at"))
    reasons = {"mangled_id"} if any(_is_rounded(row.get(name)) for name in ("user", "item")) else set()
    if user is None:
        reasons.add("missing_user")
    if item is None:
        reasons.add("missing_item")
    if kind is None:
        reasons.add("unknown_kind")
    if at is None:
        reasons |= {"bad_time", "future_time"}
    numbers = {}
    if any(isinstance(row.get(name), float) and abs(row[name]) >= 2**53 for name in ("user", "item")):
        reasons.add("mangled_id")
    if any(_is_nested(value) for value in (user, item)):
        reasons.add("nested_id")
    for name in ("quantity", "price"):
        numbers[name] = number(row.get(name))
        if numbers[name] == "bad":
            reasons.add("bad_number")
    return (user, kind, item, at, numbers["quantity"], numbers["price"], text_of(row.get("text"))), reasons


def _is_nested(identity: str | None) -> bool:
    try:
        return isinstance(json.loads(identity or ""), list | dict)
    except ValueError:
        return False


def text_of(cell: Any) -> str | None:
    """Return a cell as text without blanks around it; None where it is missing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    text = str(cell).strip()
    return None if text in {"", *NULLS} else text


def identity(cell: Any) -> str | None:
    """Return an id as text: accents written in one way, whole decimals without their zero."""
    text = text_of(cell)
    if text is None:
        return None
    text = unicodedata.normalize("NFC", text)
    if isinstance(cell, float | Decimal):
        return str(int(cell)) if math.isfinite(cell) and cell == int(cell) else text
    whole, point, rest = text.partition(".")
    if point and rest == "0" and whole.lstrip("-").isdigit() and whole.isascii() and len(whole.lstrip("-")) <= 15:
        return whole
    return text


def _is_rounded(cell: Any) -> bool:
    """Whether an id is a decimal that several whole numbers are rounded to."""
    return isinstance(cell, float) and abs(cell) >= 2**53


def number(cell: Any) -> float | str | None:
    """Return a number, None where it is missing, ``"bad"`` where it is none."""
    text = text_of(cell)
    if text is None:
        return None
    try:
        value = float(Decimal(text))
    except InvalidOperation:
        return "bad"
    return value if math.isfinite(value) else "bad"


def instant(cell: Any) -> datetime | None:
    """Return the instant of a time, or None where it is none that an event can have."""
    if isinstance(cell, datetime):
        time: datetime | None = cell if cell.tzinfo else cell.replace(tzinfo=SHANGHAI)
    elif isinstance(cell, date):
        time = datetime(cell.year, cell.month, cell.day, tzinfo=SHANGHAI)
    else:
        time = TIMES.get(text_of(cell) or "")
    if time is None or not 1990 <= time.year <= 2100:
        return None
    return time.astimezone(UTC)


@dataclass(frozen=True)
class Written:
    """A file, how to name it to an import, and what must come of it."""

    where: str
    expected: Expected
    source: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


Writer = Callable[[Path, list[Row]], Written]


def csv_writer(
    separator: str, end: str, quoting: int, encoding: str, pack: Callable[[bytes], bytes] | None, mark: str
) -> Writer:
    """Return what writes CSV in one dialect."""

    def write(folder: Path, rows: list[Row]) -> Written:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
        writer.writerow(FIELDS)
        writer.writerows([getattr(row, name) for name in FIELDS] for row in rows)
        content = (mark + text.getvalue()).encode(encoding)
        path = folder / "e.csv"
        path.write_bytes(pack(content) if pack else content)
        options = {} if encoding in {"utf-8", "utf-16"} else {"encoding": encoding}
        return Written(str(path), expect(_read_csv(text.getvalue(), separator)), options=options)

    return write


def _read_csv(text: str, separator: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = next(reader)
    line = reader.line_num
    for cells in reader:
        yield line + 1, dict(zip(names, cells, strict=True))
        line = reader.line_num


def json_writer(form: str, pack: Callable[[bytes], bytes] | None) -> Writer:
    """Return what writes JSON lines or an array."""

    def write(folder: Path, rows: list[Row]) -> Written:
        objects = [_object(row, place) for place, row in enumerate(rows)]
        if form == "lines":
            text = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in objects)
        else:
            text = json.dumps(objects, ensure_ascii=False, indent=2 if form == "indented" else None)
        path = folder / ("e.jsonl" if form == "lines" else "e.json")
        path.write_bytes(pack(text.encode()) if pack else text.encode())
        read = [json.loads(line) for line in text.splitlines()] if form == "lines" else json.loads(text)
        lines = ((place if form == "lines" else None, parsed) for place, parsed in enumerate(read, 1))
        return Written(str(path), expect(lines), source="jsonl")

    return write


def _object(row: Row, place: int) -> dict[str, Any]:
    """Return a row as an object: numbers as numbers here and there, empty cells as null or left out."""
    made: dict[str, Any] = {}
    for name in FIELDS:
        cell: Any = getattr(row, name)
        if cell == "" and place % 2:
            continue
        if name in {"quantity", "price", "user"} and cell.isascii() and cell.isdigit() and not cell.startswith("0"):
            cell = int(cell)
        made[name] = None if cell == "" else cell
    return made


def _column(kind: str, cells: list[str]) -> pa.Array:
    """Return cells as an Arrow array of a type; those that do not fit are null."""

    def fit(convert: Callable[[str], Any]) -> list[Any]:
        fitted = []
        for cell in cells:
            try:
                fitted.append(convert(cell))
            except (ValueError, InvalidOperation, OverflowError, ArithmeticError):
                fitted.append(None)
        return fitted

    if kind == "string" or (kind == "dictionary" and not any(cells)):  # pyarrow writes no dictionary of nothing
        return pa.array([cell or None for cell in cells])
    if kind == "dictionary":
        return pa.array([cell or None for cell in cells]).dictionary_encode()
    if kind == "large_string":
        return pa.array([cell or None for cell in cells], pa.large_string())
    if kind == "float64":
        return pa.array(fit(float), pa.float64())
    if kind == "int64":
        return pa.array(fit(int), pa.int64())
    if kind == "decimal":
        return pa.array(fit(lambda cell: Decimal(cell).quantize(Decimal("0.01"))), pa.decimal128(18, 2))
    times = [None if TIMES[cell] is None else TIMES[cell] for cell in cells]
    if kind == "naive":
        return pa.array([time and time.astimezone(SHANGHAI).replace(tzinfo=None) for time in times], pa.timestamp("us"))
    if kind == "millis":
        return pa.array([time and time.astimezone(UTC) for time in times], pa.timestamp("ms", tz="UTC"))
    assert kind == "date"
    return pa.array([time and time.astimezone(SHANGHAI).date() for time in times], pa.date32())


def _table(rows: list[Row], kinds: dict[str, str]) -> pa.Table:
    return pa.table({name: _column(kinds.get(name, "string"), [getattr(row, name) for row in rows]) for name in FIELDS})


def parquet_writer(kinds: dict[str, str]) -> Writer:
    """Return what writes Parquet with such types."""

    def write(folder: Path, rows: list[Row]) -> Written:
        path = folder / "e.parquet"
        pq.write_table(_table(rows, kinds), path)
        return Written(str(path), expect(_numbered(pq.read_table(path))))

    return write


def delta_writer(kinds: dict[str, str]) -> Writer:
    """Return what writes a Delta table with such types."""

    def write(folder: Path, rows: list[Row]) -> Written:
        path = folder / "events"
        write_deltalake(str(path), _table(rows, kinds))
        return Written(str(path), expect(_numbered(DeltaTable(str(path)).to_pyarrow_table())))

    return write


def _numbered(table: pa.Table) -> Iterator[tuple[int | None, dict[str, Any]]]:
    for row in table.to_pylist():
        yield None, row


def sql_writer() -> Writer:
    """Return what writes a SQLite database; SQLite keeps numbers as numbers where they are written so."""

    def write(folder: Path, rows: list[Row]) -> Written:
        path = folder / "shop.db"
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE events ({', '.join(FIELDS)})")
            for place, row in enumerate(rows):
                made = _object(row, place)
                connection.execute(
                    f"INSERT INTO events VALUES ({', '.join('?' * len(FIELDS))})", [made.get(name) for name in FIELDS]
                )
            read = connection.execute("SELECT * FROM events").fetchall()
        connection.close()
        expected = expect((None, dict(zip(FIELDS, cells, strict=True))) for cells in read)
        return Written(f"sqlite:///{path}", expected, options={"query": "SELECT * FROM events"})

    return write


_TYPES = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["string", "dictionary", "large_string", "float64", "int64"]),
        "item": st.sampled_from(["string", "large_string", "int64"]),
        "at": st.sampled_from(["string", "naive", "millis", "date"]),
        "quantity": st.sampled_from(["string", "float64", "int64"]),
        "price": st.sampled_from(["string", "float64", "decimal"]),
        "text": st.sampled_from(["string", "large_string"]),
    }
)
WRITERS = {
    "csv": st.builds(
        csv_writer,
        separator=st.sampled_from(",;\t|"),
        end=st.sampled_from(["\n", "\r\n"]),
        quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        encoding=st.sampled_from(["utf-8", "utf-16", "gb18030"]),
        pack=st.sampled_from([None, None, gzip.compress, zstandard.compress]),
        mark=st.just(""),
    ),
    "json": st.builds(
        json_writer, st.sampled_from(["lines", "array", "indented"]), st.sampled_from([None, None, gzip.compress])
    ),
    "parquet": st.builds(parquet_writer, _TYPES),
    "delta": st.builds(delta_writer, _TYPES),
    "sql": st.builds(sql_writer),
}
