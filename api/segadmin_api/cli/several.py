"""Importing several files by one command: one that cannot be read stops no other."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segadmin.errors import DataError, SegadminError
from segadmin.storage.records import Import
from segadmin.urls import mask_url

if TYPE_CHECKING:
    from segadmin.events.ingest import Request


@dataclass
class Imported:
    """What became of each file."""

    facts: list[dict[str, Any]] = field(default_factory=list)  #: of each file in turn, for programs
    failed: list[str] = field(default_factory=list)
    not_tried: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """What to import again."""
        return [*self.failed, *self.not_tried]


def expand(where: Sequence[str]) -> list[str]:
    """Return the files that are meant, with patterns that the shell left as they are replaced by what they match."""
    files: list[str] = []
    for one in where:
        matches = [] if "://" in one or Path(one).exists() else sorted(glob.glob(one))  # noqa: PTH207  (a pattern may be absolute)
        files += matches or [one]
    return files


def import_each(
    requests: Sequence[Request],
    take: Callable[[Request], tuple[Import, bool]],
    report: Callable[[Import, bool], None],
) -> Imported:
    """Import one after the other.

    Args:
        requests: what to import. The error of a single one is raised.
        take: imports one, and returns its record and whether it was new.
        report: called when one is imported.
    """
    imported = Imported()
    for place, request in enumerate(requests):
        try:
            record, fresh = take(request)
        except SegadminError as error:
            if len(requests) == 1:
                raise
            typer.echo(f"Error: {_shown(request.where)}: {error}", err=True)
            imported.failed.append(request.where)
            imported.facts.append({"file": _shown(request.where), "state": "failed", "error": str(error)})
            if not isinstance(error, DataError):  # the next one would meet the same
                imported.not_tried += [left.where for left in requests[place + 1 :]]
                break
        else:
            report(record, fresh)
            imported.facts.append(record.model_dump(mode="json") | {"fresh": fresh})
    imported.facts += [{"file": _shown(where), "state": "not tried"} for where in imported.not_tried]
    return imported


def summarize(imported: Imported, command: str) -> None:
    """Say on stderr which files are not imported, and the command that imports them."""
    total = len(imported.facts)
    parts = [
        f"{total - len(imported.left)} of {total} are imported",
        f"failed: {', '.join(map(_shown, imported.failed))}",
    ]
    if imported.not_tried:
        parts.append(f"not tried: {', '.join(map(_shown, imported.not_tried))}")
    typer.echo(f"{'; '.join(parts)}. When that is corrected: {command}", err=True)


def _shown(where: str) -> str:
    return mask_url(where)
