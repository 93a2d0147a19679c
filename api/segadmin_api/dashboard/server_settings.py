"""The page of settings: what the server runs with, on which disk, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of
from segadmin_api.effective_settings import EffectiveSetting
from segadmin_api.schemas.data import Finding


@dataclass(frozen=True)
class Disk:
    """The disk of the store, in bytes."""

    free: int
    total: int
    folders: Mapping[str, int]  #: folder or file → what it holds; empty: not measured

    @property
    def share(self) -> float:
        """How much of it is used, 0 to 1."""
        return 1 - self.free / self.total if self.total else 0.0


@dataclass(frozen=True)
class ServerView:
    """How the server is set up."""

    settings: Sequence[EffectiveSetting]
    versions: Mapping[str, str]
    disk: Disk | None  #: ``None``: there is no store yet
    services: Mapping[str, str]  #: service with pages → its URL
    findings: Sequence[Finding] | None = None  #: ``None``: the checks did not run


def page(view: ServerView, reader: Reader) -> str:
    """Return the page."""
    return served("settings.html", text_of(reader, "settings"), "/plugins", reader, tab="/settings", view=view)
