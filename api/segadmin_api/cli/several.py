"""Imports several files by one command; a file that cannot be read does not stop the others."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin.errors import DataError, SegadminError
from segadmin.storage.records import Import
from segadmin.urls import mask_url
from segadmin_api.cli.output import echo

if TYPE_CHECKING:
    from segadmin.events.import_request import ImportRequest


@dataclass
class Imported:
    """The result of each file."""

    facts: list[dict[str, Any]] = field(default_factory=list)  #: one per file, in order; for JSON
    failed: list[str] = field(default_factory=list)
    not_tried: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """The files to import again."""
        return [*self.failed, *self.not_tried]


def expand(where: Sequence[str]) -> list[str]:
    """Return the files, with patterns that the shell did not expand replaced by their matches."""
    files: list[str] = []
    for location in where:
        files += ([] if "://" in location or Path(location).exists() else _matches(Path(location))) or [location]
    return files


def _matches(pattern: Path) -> list[str]:
    """Return the files that match ``pattern``; a folder in it that exists is that folder, whatever its name."""
    folder = next((parent for parent in pattern.parents if parent.is_dir()), Path())
    pattern = Path(glob.escape(str(folder))) / pattern.relative_to(folder)
    return sorted(glob.glob(str(pattern)))  # noqa: PTH207  (a pattern may be absolute)


def import_each(
    requests: Sequence[ImportRequest],
    take: Callable[[ImportRequest], tuple[Import, bool]],
    report: Callable[[Import, bool], None],
) -> Imported:
    """Import files in turn.

    Args:
        requests: what to import. The error of a single request is raised.
        take: imports one file, and returns its record and whether it was new.
        report: called after each import.
    """
    imported = Imported()
    for index, request in enumerate(requests):
        try:
            record, fresh = take(request)
        except SegadminError as error:
            if len(requests) == 1:
                raise
            echo(f"Error: {_shown(request.where)}: {error}", err=True)
            imported.failed.append(request.where)
            imported.facts.append({"file": _shown(request.where), "state": "failed", "error": str(error)})
            if not isinstance(error, DataError):  # the next file would have the same error
                imported.not_tried += [rest.where for rest in requests[index + 1 :]]
                break
        else:
            report(record, fresh)
            imported.facts.append(record.model_dump(mode="json") | {"fresh": fresh})
    imported.facts += [{"file": _shown(where), "state": "not tried"} for where in imported.not_tried]
    return imported


def summarize(imported: Imported, command: str) -> None:
    """Print on stderr the files that were not imported, and the command that imports them."""
    total = len(imported.facts)
    sentences = [
        f"{total - len(imported.left)} of {total} are imported",
        f"failed: {', '.join(map(_shown, imported.failed))}",
    ]
    if imported.not_tried:
        sentences.append(f"not tried: {', '.join(map(_shown, imported.not_tried))}")
    echo(f"{'; '.join(sentences)}. When that is corrected: {command}", err=True)


def _shown(where: str) -> str:
    return mask_url(where)
