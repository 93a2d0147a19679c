"""Who reads a page: their language, time zone and colours, and what they may change."""

from __future__ import annotations

from dataclasses import dataclass

from segadmin_api.dashboard.formats import Formats

LANGUAGES = {"en": "English", "zh": "中文"}
THEMES = ("auto", "light", "dark")
#: What a page takes besides its rows is then a small part.
_ROWS_OF_FILE = 1_000


@dataclass(frozen=True)
class Reader:
    """Whoever reads a page."""

    language: str = "en"  #: one of :data:`LANGUAGES`
    zone: str = "UTC"  #: an IANA name
    theme: str = "auto"  #: one of :data:`THEMES`; ``auto``: as the browser does
    path: str = "/"  #: of the page, with its query
    notice: str = ""  #: what the form that led to this page did
    key: str = ""  #: the name of the key of the session; empty: there is none, and forms are not shown
    token: str = ""  #: of the session; every form holds it
    scopes: frozenset[str] = frozenset()  #: what the session may do
    plain: bool = False  #: values are for a program or a spreadsheet, see :class:`Formats`

    @property
    def formats(self) -> Formats:
        """How values are written."""
        return Formats(self.language, self.zone, self.plain)

    def rows_at_once(self, on_page: int) -> int:
        """Return how many rows of a list are read: those on a page, or, for a file of the whole list, more."""
        return _ROWS_OF_FILE if self.plain else on_page

    def may(self, scope: str) -> bool:
        """Return whether forms for a scope are shown."""
        return scope in self.scopes

    def opens(self, scope: str) -> bool:
        """Return whether links to the pages of a scope are shown: what a key as a password opens is not known."""
        return not self.token or scope in self.scopes


#: The reader of pages that are saved as files.
ENGLISH = Reader()


def preferred_language(accept_language: str) -> str:
    """Return the language of :data:`LANGUAGES` that an ``Accept-Language`` header prefers; English if none is there."""
    weights: list[tuple[float, int, str]] = []
    for place, entry in enumerate(accept_language.split(",")):
        name, _, quality = entry.strip().partition(";q=")
        language = name.split("-")[0].lower()
        if language in LANGUAGES:
            weights.append((-_number(quality, 1.0), place, language))
    return min(weights)[2] if weights else "en"


def _number(text: str, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default
