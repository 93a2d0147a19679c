"""The page of model versions, a section for each label set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segadmin.models.versions import VersionLine
from segadmin.storage.records import ModelState
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import served, text_of


@dataclass(frozen=True)
class ModelFilter:
    """Which versions are shown."""

    labels: str = ""  #: empty: of all label sets
    state: str = ""  #: a :class:`segadmin.storage.records.ModelState`; empty: in any


@dataclass(frozen=True)
class LabelSetModels:
    """The versions of a label set, newest first."""

    name: str
    champion: int | None
    lines: Sequence[VersionLine]

    @property
    def comparable(self) -> Sequence[VersionLine]:
        """Those that were tested, so that two can be compared."""
        return [line for line in self.lines if line.tested]


def list_page(
    versions: Sequence[VersionLine],
    reader: Reader = ENGLISH,
    *,
    champions: Mapping[str, int] | None = None,
    label_sets: Sequence[str] = (),
    shown: ModelFilter | None = None,
    newest: bool = True,
    full: bool = False,
) -> str:
    """Return the page of some versions.

    Args:
        versions: to show, newest first.
        reader: who reads it.
        champions: the champion of each label set.
        label_sets: that the filter offers.
        shown: the filter.
        newest: these are the newest versions.
        full: there may be older ones; the page links to them.
    """
    by_label_set: dict[str, list[VersionLine]] = {}
    for line in versions:
        by_label_set.setdefault(line.version.label_set, []).append(line)
    current = champions or {}
    return served(
        "models.html",
        text_of(reader, "models"),
        "/models",
        reader,
        sections=[LabelSetModels(name, current.get(name), lines) for name, lines in sorted(by_label_set.items())],
        label_sets=label_sets,
        states=list(ModelState),
        shown=shown or ModelFilter(),
        newest=newest,
        older=versions[-1].version.id if full else None,
    )
