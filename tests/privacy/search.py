"""Looking for users in every byte of a folder, and in what compressed and columnar files hold."""

from __future__ import annotations

import gzip
import io
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import zstandard

from segadmin.events.keys import show_key, user_key


def needles_of(secret: bytes, user: str, *texts: str) -> set[bytes]:
    """Return what tells of a user: the id, its pseudonym in hex, as a number and in binary, and some texts."""
    key = user_key(secret, user)
    texts_of_user = [user, user.encode("unicode_escape").decode(), show_key(key), str(key), str(key % 2**64), *texts]
    binary = [key.to_bytes(8, order, signed=True) for order in ("little", "big")]
    return {*(text.encode() for text in texts_of_user), *(text.encode("utf-16-le") for text in texts_of_user), *binary}


def find(root: Path, needles: Iterable[bytes]) -> dict[str, set[bytes]]:
    """Return which needles each file below ``root`` holds, by its path there."""
    wanted = list(needles)
    needles_by_path: dict[str, set[bytes]] = defaultdict(set)
    for path in sorted(root.rglob("*")):
        if not path.is_file():  # sockets too
            continue
        for content in contents_of(path):
            needles_by_path[str(path.relative_to(root))] |= {needle for needle in wanted if needle in content}
    return {name: held for name, held in needles_by_path.items() if held}


def contents_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, and what they mean."""
    raw = path.read_bytes()
    yield raw
    if raw.startswith(b"\x1f\x8b"):
        yield gzip.decompress(raw)
    elif raw.startswith(b"\x28\xb5\x2f\xfd"):
        yield zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw)).read()
    elif raw.startswith(b"PAR1"):
        yield from columns_of(pl.read_parquet(raw, hive_partitioning=False))
    elif raw.startswith(b"ARROW1"):
        yield from columns_of(pl.read_ipc(raw))
    elif raw.startswith(b"SQLite format 3"):
        yield from dump_of(path)


def columns_of(frame: pl.DataFrame) -> Iterator[bytes]:
    """Yield each column as text, also what is inside structs and lists."""
    for column in frame:
        yield "\n".join(map(str, column.to_list())).encode("utf-8", "surrogatepass")


def dump_of(path: Path) -> Iterator[bytes]:
    """Yield a database as SQL: a long text is cut by pages, and a number is no text in them."""
    with closing(sqlite3.connect(path)) as connection:
        yield "\n".join(connection.iterdump()).encode()
