"""Which events came in between two versions of the table of events, from the log of the table.

Only commits that add files and remove none bring events: compactions, erasures and corrections rewrite those that are
there. Compactions change no event, and the log says so. It keeps the files of an import even if a compaction joins them
afterwards, for a week.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from segadmin.storage.lake import Lake
from segadmin.storage.schema import TIME

Action = dict[str, Any]


@dataclass(frozen=True)
class EventChanges:
    """Where events changed between two versions of the table."""

    rewritten: frozenset[int]  #: buckets in which events may have been removed or changed
    added: dict[int, list[Path]]  #: files of new events by bucket: all that changed in buckets that were not rewritten

    def files(self, buckets: Iterable[int]) -> list[Path]:
        """Return the files of new events in ``buckets``."""
        return [path for bucket in buckets for path in self.added.get(bucket, ())]


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
    commits = _commits(folder, since, until)
    if commits is None:
        return None
    additions = [actions for actions in commits if not any("remove" in action for action in actions)]
    return [_file(folder, action["add"]) for actions in additions for action in actions if "add" in action]


def event_changes(lake: Lake, since: int, until: int) -> EventChanges | None:
    """Return what changed after the version ``since``, up to and with ``until``.

    Returns:
        ``None`` if the log no longer says: an erasure shortens it.
    """
    folder = lake.path / "events"
    commits = _commits(folder, since, until)
    if commits is None:
        return None
    rewritten: set[int] = set()
    added: dict[int, list[Path]] = {}
    for actions in commits:
        removed = [action["remove"] for action in actions if "remove" in action]
        additions = [action["add"] for action in actions if "add" in action]
        if not any(each.get("dataChange", True) for each in [*removed, *additions]):
            continue
        for each in additions:
            added.setdefault(_bucket(each), []).append(folder / unquote(each["path"]))
        if removed:
            rewritten |= {_bucket(each) for each in [*removed, *additions]}
    rewritten |= {bucket for bucket, paths in added.items() if not all(path.exists() for path in paths)}
    return EventChanges(frozenset(rewritten), added)


def _commits(folder: Path, since: int, until: int) -> list[list[Action]] | None:
    """Return the actions of each commit after ``since``, up to and with ``until``; ``None`` if one is missing."""
    log = folder / "_delta_log"
    try:
        texts = [(log / f"{version:020}.json").read_text() for version in range(since + 1, until + 1)]
    except FileNotFoundError:
        return None
    return [[json.loads(line) for line in text.splitlines() if line] for text in texts]


def _bucket(action: Action) -> int:
    return int(action["partitionValues"]["bucket"])


def _file(folder: Path, added: Action) -> ArrivedFile:
    statistics = json.loads(added.get("stats") or "{}")
    earliest, latest = (_moment(statistics.get(name, {}).get("at")) for name in ("minValues", "maxValues"))
    return ArrivedFile(folder / unquote(added["path"]), earliest, latest)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
