"""Which events came in between two versions of the table of events, from the log of the table.

Only commits that add files and remove none bring events: compactions, erasures and corrections rewrite those that are
there. The log keeps the files of an import even if a compaction joins them afterwards, for a week.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from segadmin.storage.lake import Lake
from segadmin.storage.schema import TIME


@dataclass(frozen=True)
class ArrivedFile:
    """A file of events that an import added."""

    path: Path
    earliest: datetime | None  #: of its events, from its statistics
    latest: datetime | None

    def times(self) -> pl.Series:
        """Return ``at`` of its events.

        Raises:
            FileNotFoundError: it was removed since.
        """
        return pl.read_parquet(self.path, columns=["at"], glob=False)["at"].cast(TIME)


def arrived_files(lake: Lake, since: int, until: int) -> list[ArrivedFile] | None:
    """Return the files that were added after the version ``since``, up to and with ``until``.

    Returns:
        ``None`` if the log no longer says: an erasure shortens it.
    """
    folder = lake.path / "events"
    files: list[ArrivedFile] = []
    for version in range(since + 1, until + 1):
        try:
            lines = (folder / "_delta_log" / f"{version:020}.json").read_text().splitlines()
        except FileNotFoundError:
            return None
        actions = [json.loads(line) for line in lines if line]
        if not any("remove" in action for action in actions):
            files += [_file(folder, action["add"]) for action in actions if "add" in action]
    return files


def _file(folder: Path, added: dict[str, Any]) -> ArrivedFile:
    statistics = json.loads(added.get("stats") or "{}")
    earliest, latest = (_moment(statistics.get(name, {}).get("at")) for name in ("minValues", "maxValues"))
    return ArrivedFile(folder / unquote(added["path"]), earliest, latest)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
