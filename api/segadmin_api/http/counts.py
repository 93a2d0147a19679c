"""What is counted of clients: in the memory of one process, or in a file for all processes of a server."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

#: Number of names of a kind that are remembered, and number of new names after which the others are forgotten.
REMEMBERED, _TRIMMED_AFTER = 10_000, 100
#: Seconds to wait for another process, which writes for microseconds.
_PATIENCE = 5.0
_TABLE = """
    CREATE TABLE IF NOT EXISTS counts (kind TEXT, name BLOB, number REAL, at REAL, PRIMARY KEY (kind, name));
    CREATE INDEX IF NOT EXISTS counts_at ON counts (kind, at);
"""


class Counts:
    """A number by kind and name, and the time of that number; thread-safe.

    The names that were counted longest ago are forgotten first. Names are kept as digests: some begin as keys do.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Open the counts.

        Args:
            file: the database that processes share; it must be on this machine, and is created with its folder if
                there is none.
                ``None``: this process has its own.
        """
        self._lock, self._new = threading.RLock(), defaultdict[str, Iterator[int]](lambda: count(1))
        if file is not None:
            file.parent.mkdir(mode=0o700, exist_ok=True)
        self._connection = sqlite3.connect(
            file or ":memory:", timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF"):  # a crash of the machine ends all
            self._connection.execute(statement)
        self._connection.executescript(_TABLE)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let no other thread or process change a count in the body."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")

    def get(self, kind: str, name: str) -> tuple[float, float] | None:
        """Return a number and the time of that number; ``None`` if the name is not known."""
        query = "SELECT number, at FROM counts WHERE kind = ? AND name = ?"
        with self._lock:
            row: tuple[float, float] | None = self._connection.execute(query, (kind, _digest(name))).fetchone()
        return row

    def put(self, kind: str, name: str, number: float, at: float) -> None:
        """Remember a number, and the time of that number in seconds."""
        with self._lock:
            is_new = self.get(kind, name) is None
            self._connection.execute("REPLACE INTO counts VALUES (?, ?, ?, ?)", (kind, _digest(name), number, at))
            if is_new and next(self._new[kind]) % _TRIMMED_AFTER == 0:
                self._trim(kind)

    def drop(self, kind: str, name: str) -> None:
        """Forget a name."""
        with self._lock:
            self._connection.execute("DELETE FROM counts WHERE kind = ? AND name = ?", (kind, _digest(name)))

    def size(self, kind: str) -> int:
        """Return how many names of a kind are remembered."""
        query = "SELECT COUNT(*) FROM counts WHERE kind = ?"
        with self._lock:
            return int(self._connection.execute(query, (kind,)).fetchone()[0])

    def _trim(self, kind: str) -> None:
        self._connection.execute(
            "DELETE FROM counts WHERE rowid IN"
            " (SELECT rowid FROM counts WHERE kind = ? ORDER BY at DESC LIMIT -1 OFFSET ?)",
            (kind, REMEMBERED),
        )


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
