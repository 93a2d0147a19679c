"""Who is in which segment, by everything that shows it: pages, API, command line, exports, and a recount.

The recount shares no code with the program: it reads the files of SQLite and Delta Lake and adds up in Python.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from deltalake import DeltaTable
from typer.testing import CliRunner

from segadmin_api.cli import app
from tests.conftest import Cli

#: Pseudonym → segment.
Members = Mapping[str, str]
#: Segment before and after → users; ``None``: not in that snapshot.
Cells = Mapping[tuple[str | None, str | None], int]
NOT_ENOUGH = "not enough known"


def sizes(members: Members) -> dict[str, int]:
    """Return the number of users of each segment that has any."""
    return dict(Counter(members.values()))


def cells(before: Members, after: Members) -> dict[tuple[str | None, str | None], int]:
    """Return the number of users by segment before and after."""
    return dict(Counter((before.get(user), after.get(user)) for user in {*before, *after}))


@dataclass(frozen=True)
class Recount:
    """The snapshots of a home, read from its files."""

    published: dict[int, list[int]]  #: snapshot → the snapshots whose rows make it up
    current: int
    rows: dict[int, dict[str, str | None]]  #: snapshot → pseudonym → segment; ``None``: the user left
    users: dict[str, str]  #: pseudonym → that of the user into whom they were merged, or their own

    @classmethod
    def of(cls, home: Path, label_set: str) -> Recount:
        """Read the files."""
        with closing(sqlite3.connect(f"file:{home / 'segadmin.db'}?mode=ro", uri=True)) as database:
            published = database.execute("SELECT id, earlier_parts FROM segmentsnapshot WHERE state = 'published'")
            parts = {number: [*json.loads(earlier), number] for number, earlier in published}
            pointer = (f"snapshot:{label_set}",)
            [[current]] = database.execute("SELECT target_id FROM current WHERE name = ?", pointer).fetchall()
        rows: dict[int, dict[str, str | None]] = {}
        for row in _rows(home, "assignments", "snapshot_id", "user_key", "segment", "has_left"):
            of_snapshot = rows.setdefault(row["snapshot_id"], {})
            user = _pseudonym(row["user_key"])
            assert user not in of_snapshot, "a user has two rows of one snapshot"
            of_snapshot[user] = None if row["has_left"] else row["segment"] or NOT_ENOUGH
        users = {_pseudonym(row["user_key"]): _pseudonym(row["user_key"]) for row in _rows(home, "users", "user_key")}
        merged = _rows(home, "merged_users", "user_key", "merged_into")
        into = {_pseudonym(row["user_key"]): _pseudonym(row["merged_into"]) for row in merged}
        for user in into:
            root = user
            while root in into:
                root = into[root]
            users[user] = root
        return cls(parts, current, rows, users)

    def members(self, snapshot: int) -> dict[str, str]:
        """Return who is in a snapshot."""
        last: dict[str, str | None] = {}
        for part in self.published[snapshot]:
            last |= self.rows.get(part, {})
        return {user: segment for user, segment in last.items() if segment is not None}


def _rows(home: Path, table: str, *columns: str) -> list[dict[str, Any]]:
    path = home / "store" / "lake" / table
    return DeltaTable(str(path)).to_pyarrow_table(columns=list(columns)).to_pylist() if path.is_dir() else []


def _pseudonym(key: int) -> str:
    return (key % 2**64).to_bytes(8, "big").hex()


class _Tables(HTMLParser):
    """The tables of a page, as rows of texts, and its plain text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables, self._cell, self.words = list[list[list[str]]](), False, ""
        self.feed(html)

    def handle_starttag(self, tag: str, _attributes: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._cell:
            self.tables[-1][-1][-1] += data.strip()

    def columns(self, *names: str) -> Iterator[list[str]]:
        """Yield the cells under these headings, of the first table that has them all."""
        for heading, *rows in filter(None, self.tables):
            if set(names) <= set(heading):
                yield from ([row[heading.index(name)] for name in names] for row in rows)
                return
        raise AssertionError(f"no table has the columns {names}: {[table[:1] for table in self.tables]}")


def number(text: str) -> int:
    """Return a count as an English page shows it."""
    return int(text.replace(",", ""))


@dataclass(frozen=True)
class Pages:
    """What the pages show; a reader of the English ones."""

    client: httpx.Client

    def _open(self, path: str) -> _Tables:
        answer = self.client.get(path, headers={"Accept": "text/html", "Accept-Language": "en"})
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return _Tables(answer.text)

    def sizes(self, snapshot: int) -> dict[str, int]:
        """Return the users of each segment on the page of a snapshot."""
        return _some(self._open(f"/snapshots/{snapshot}").columns("Segment", "Users"))

    def current_sizes(self) -> dict[str, int]:
        """Return the users of each segment on the page of segments."""
        return _some(self._open("/segments").columns("Segment", "Users"))

    def totals(self) -> dict[int, int]:
        """Return the users of the newest snapshots in the list."""
        rows = self._open("/snapshots").columns("Snapshot", "Users")
        return {number(snapshot): number(users) for snapshot, users in rows}

    def cells(self, earlier: int, later: int) -> dict[tuple[str | None, str | None], int]:
        """Return the matrix of a difference; empty if nobody moved."""
        page = self._open(f"/snapshots/{earlier}/{later}")
        if "Nobody moved." in page.words:
            return {}
        heading, *rows = page.tables[0]
        names: dict[str, str | None] = {"new users": None, "left": None}
        return {
            (names.get(before, before), names.get(after, after)): number(users)
            for before, *counts in rows
            for after, users in zip(heading[1:], counts, strict=True)
            if number(users)
        }

    def segment_of(self, user: str) -> list[str]:
        """Return the headings of the current segments of a user."""
        return [line for line in self._open(f"/users/{user}").words.splitlines() if ": " in line]


def _some(rows: Iterator[list[str]]) -> dict[str, int]:
    return {segment: number(users) for segment, users in rows if number(users)}


@dataclass(frozen=True)
class Answers:
    """What the API answers."""

    client: httpx.Client

    def get(self, path: str, **query: Any) -> Any:
        """Return what is at a path."""
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, (path, query, answer.status_code, answer.text)
        return answer.json()

    def items(self, path: str, limit: int, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages of a list."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=limit, **query, **cursor)
            assert len(page["items"]) <= limit
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    def sizes(self, snapshot: int) -> dict[str, int]:
        """Return the users of each segment of a snapshot, whose total is theirs."""
        shown = self.get(f"/v1/snapshots/{snapshot}")
        users = {each["segment"]: each["users"] for each in shown["segments"] if each["users"]}
        assert shown["users"] == sum(users.values())
        return users

    def current_sizes(self) -> dict[str, int]:
        """Return the users of each current segment."""
        return {each["segment"]: each["users"] for each in self.get("/v1/segments")["items"] if each["users"]}

    def totals(self) -> dict[int, int]:
        """Return the users of all snapshots."""
        return {each["id"]: each["users"] for each in self.items("/v1/snapshots", 1000)}

    def members(self, snapshot: int, segment: str | None = None, limit: int = 20) -> dict[str, str]:
        """Return who is in a snapshot, or in one of its segments, page by page."""
        query = {} if segment is None else {"segment": segment}
        members: dict[str, str] = {}
        for each in self.items(f"/v1/snapshots/{snapshot}/members", limit, **query):
            assert each["user_key"] not in members, "a user is on two pages"
            members[each["user_key"]] = each["segment"] or NOT_ENOUGH
        return members

    def user_ids(self, snapshot: int) -> set[str]:
        """Return the shop's ids of who is in a snapshot."""
        return {each["user"] for each in self.items(f"/v1/snapshots/{snapshot}/members", 20, user_ids=True)}

    def cells(self, earlier: int, later: int) -> dict[tuple[str | None, str | None], int]:
        """Return the matrix of a difference, with whose causes it adds up."""
        shown = self.get(f"/v1/snapshots/{later}/diff", earlier=earlier)
        matrix = _matrix(shown)
        moved = sum(each["users"] for each in shown["movements"])
        assert shown["stayed"] + moved == sum(matrix.values())
        return matrix

    def segments_of(self, user: str) -> tuple[str, dict[int, str]]:
        """Return the user who stands for a user, and the segment in each snapshot."""
        shown = self.get(f"/v1/users/{user}")
        return shown["user_key"], {each["snapshot_id"]: each["segment"] for each in shown["history"]}


def _matrix(shown: Any) -> dict[tuple[str | None, str | None], int]:
    return {(cell["before"], cell["after"]): cell["users"] for cell in shown["matrix"] if cell["users"]}


@dataclass(frozen=True)
class Commands:
    """What the command line prints and writes.

    Commands run in this process, but every tenth as a user would run it: starting processes takes most of the time.
    """

    cli: Cli
    folder: Path  #: for exports
    runs: Iterator[int] = field(default_factory=count)

    def _run(self, *words: str) -> str:
        if next(self.runs) % 10 == 0:
            return self.cli(*words).stdout
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0, (words, done.output)
        return done.stdout

    def _json(self, *words: str) -> Any:
        return json.loads(self._run(*words, "--json"))

    def sizes(self, snapshot: int) -> dict[str, int]:
        """Return the users of each segment of a snapshot."""
        shown = self._json("snapshots", "show", str(snapshot))
        users = {each["segment"]: each["users"] for each in shown["segments"] if each["users"]}
        assert shown["users"] == sum(users.values())
        return users

    def totals(self) -> dict[int, int]:
        """Return the users of all snapshots."""
        return {each["id"]: each["users"] for each in self._json("snapshots", "list")}

    def cells(self, earlier: int, later: int) -> dict[tuple[str | None, str | None], int]:
        """Return the matrix of a difference."""
        return _matrix(self._json("snapshots", "diff", str(earlier), str(later)))

    def moved(self, earlier: int, later: int, cell: tuple[str | None, str | None]) -> set[str]:
        """Return the users of a cell, exported."""
        words = ("--from", cell[0] or "new", "--to", cell[1] or "left")
        rows = self._export("diff", str(earlier), str(later), *words)
        return {row["user"] for row in rows}

    def export(self, snapshot: int) -> dict[str, str]:
        """Return who is in a snapshot, exported."""
        rows = self._export("export", str(snapshot))
        members = {row["user"]: row["segment"] or NOT_ENOUGH for row in rows}
        assert len(members) == len(rows), "a user is there twice"
        return members

    def user_ids(self, snapshot: int) -> set[str]:
        """Return the shop's ids of who is in a snapshot, exported."""
        return {row["user"] for row in self._export("export", str(snapshot), "--with-user-ids")}

    def _export(self, *words: str) -> list[dict[str, str]]:
        path = self.folder / "export.csv"
        self._run("snapshots", *words, "--out", str(path))
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
