"""Bodies of events made to cost more than their bytes: each shape in any size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

_EVENT = {"user": "u", "kind": "view", "item": "i", "at": "2026-01-31T18:05:00Z"}


def _list(size: int, events: Callable[[int], str]) -> bytes:
    """Return a list of events of about ``size`` bytes."""
    items, length = [], 2
    while length < size:
        items.append(events(len(items)))
        length += len(items[-1]) + 1
    return f"[{','.join(items)}]".encode()


def _with(name: str, value: str) -> str:
    """Return an event with one more field, whose value is written so."""
    return f"{json.dumps(_EVENT)[:-1]}, {json.dumps(name)}: {value}}}"


def _times(size: int, piece: str, begin: str, end: str) -> str:
    return begin + piece * max(1, (size - len(begin) - len(end)) // len(piece)) + end


def _ragged(number: int) -> Iterator[str]:
    for place in range(400):
        yield f'"k{number % 5}_{place}":1'


#: Name → body of about so many bytes.
SHAPES: dict[str, Callable[[int], bytes]] = {
    "ordinary": lambda size: _list(
        size, lambda n: json.dumps(_EVENT | {"item": f"i{n}", "price": 9.5, "color": "red"})
    ),
    "another field each": lambda size: _list(size, lambda n: _with(f"x{n}", "1")),
    "two fields of many": lambda size: _list(size, lambda n: f'{{"a{n % 999}":1,"b{n % 997}":1}}' + " " * 30),
    "a wide event, then narrow ones": lambda size: _list(
        size, lambda n: f"{{{','.join(_ragged(n))}}}" if n < 4 else '{"k0_1":1}' + " " * 40
    ),
    "many fields in one": lambda size: _list(
        size, lambda n: "{" + ",".join(f'"f{n}_{place}":0' for place in range(400)) + "}"
    ),
    "long names": lambda size: _list(size, lambda n: _with("n" * 180 + str(n % 1500), "0")),
    "empty events": lambda size: _list(size, lambda _: "{}" + " " * 98),
    "no events": lambda size: _list(size, lambda _: "1" + " " * 98),
    "deep lists": lambda size: _list(size, lambda _: _with("x", "[" * 900 + "]" * 900)),
    "deep objects": lambda size: _list(size, lambda _: _with("x", '{"a":' * 200 + "1" + "}" * 200)),
    "flat lists": lambda size: _list(size, lambda _: _with("x", f"[{'0,' * 30_000}0]")),
    "objects in lists": lambda size: _list(size, lambda _: _with("x", f"[{'{},' * 30_000}0]")),
    "long numbers": lambda size: _list(size, lambda _: _with("price", "9" * 60_000)),
    "long exponents": lambda size: _list(size, lambda n: _with("price", f"1e{n + 300}")),
    "long ids": lambda size: _list(size, lambda n: _with("user", f'"{n}{"x" * 60_000}"')),
    "long texts": lambda size: _list(size, lambda n: _with("text", f'"{n}{"ab <b>&amp; " * 5_000}"')),
    "texts of digits": lambda size: _list(size, lambda n: _with("text", f'"{n}{"138 0013-8000@" * 4_000}"')),
    "escapes": lambda size: _list(size, lambda _: _with("text", f'"{chr(92)}ud83d' + f"{chr(92)}u0000" * 9_000 + '"')),
    "repeated fields": lambda size: _list(size, lambda _: "{" + '"user":"u",' * 20_000 + '"item":"i"}'),
    "one string": lambda size: _times(size, "x", '["', '"]').encode(),
    "one list": lambda size: _times(size, "0,", '[{"x":[', "0]}]").encode(),
    "open brackets": lambda size: b"[" * size,
    "open objects": lambda size: b'{"a":' * (size // 5),
    "an open string": lambda size: b'[{"a":"' + b"x" * size,
    "quotes": lambda size: b'"' * size,
    "commas": lambda size: b"[" + b"," * size,
}

#: Names of fields: our own columns, those of other tools, and such that paths, SQL, CSV and JSON read otherwise.
ODD_NAMES = (
    *("segadmin:problem", "segadmin:row", "segadmin:line", "segadmin:other", "segadmin:element", "segadmin:place"),
    *("segadmin:", "segadmin:new", "quarantine:escaped", "quarantine:other", "quarantine:reason", "quarantine:"),
    *("line", "row", "problem", "reason", "column", "value", "bucket", "user_key", "own_id", "extras", "raw_user"),
    *("import_id", "table", "segment", "name", "len", "index", "", " ", ".", "a.b", "user.id", "*", "^.*$", "\x00"),
    *("user_duplicated_0", "item_duplicated_0", "at_duplicated_0", "price_duplicated_0", "__proto__", "User", " user"),
    *("用户", "\u202euser", '"', "'", "\\", "[0]", "$", "user\n", "#", "_duplicated_0"),
)
#: Values of fields.
ODD_VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 2**63, -(2**63) - 1, 10**80, 0.1, -0.0, 1e300, "", " ", "\x00", "\ufeff", "\u200b"),
    *("NaN", "inf", "-inf", "1e999", "1,50", "1.234,5", "5 €", "$6", "(7)", "EUR", "US$", "元", "0x10", "１２", "١٢"),
    *("9999-12-31", "0000-00-00", "1969-12-31", "2026-02-30", "2026-13-01", "31.12.2025", "12/31/2025", "-1", "now"),
    *(1e18, "253402300800", "-62135596801", "2026-01-31T18:05:00+99:00", "2026-W05-6", "10000-01-01", -1e18),
    *([], {}, [[]], [None], {"": None}, [1, "a", {"b": []}], {"user": "x"}, '{"user": "x"}', "[1,", '{"a":', "null"),
    *("\ud83d", "a\ud800b", "\U0001f600" * 50, "x" * 5_000, "<b>&amp;</b>", "=1+1", "@x", "\u202e", "\x1b[31m", "\r\n"),
    *("view", "VIEW", "return", "ignore", "purchase", "u1;DROP TABLE users", "../../etc/passwd", "%00", "user\tx"),
)
#: Lines that are no events.
ODD_TEXTS = (
    *("nonsense", "1", '"text"', "null", "true", "[]", "[1]", "{}", "{", '{"user": }', '{"user": "u"', "{'user': 'u'}"),
    *("NaN", '{"price": NaN, "user": "u"}', '{"price": Infinity}', '{"user": "a", "user": "b"}', "[[[[[]]]]]"),
    *(
        '{"user": "\\ud83d"}',
        '{"\\ud83d": 1}',
        '{"\\u0000": 1}',
        '{"user": "\\u0000"}',
        "\ufeff{}",
        "{}{}",
        "{},",
        "//",
    ),
    *('{"segadmin\\u003aproblem": "x"}', '{"segadmin:problem": null}', '{"segadmin:row": {"a": 1}}'),
)
