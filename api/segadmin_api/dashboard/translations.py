"""The texts of pages in other languages: gettext catalogues, ``locale/LANGUAGE.po``.

Entries with a context are no texts of pages: names (see :mod:`segadmin_api.dashboard.names`), and with the context
``message`` what the program reports (see :mod:`segadmin_api.dashboard.messages`).
"""

from __future__ import annotations

import io
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

FOLDER = Path(__file__).parent / "locale"


@cache
def translations(language: str) -> NullTranslations:
    """Return the texts of a language; texts that have no translation stay English."""
    catalogue = _catalogue(language)
    if catalogue is None:
        return NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)


@cache
def entries(language: str, context: str) -> dict[str, str]:
    """Return the texts of a context, each with its translation."""
    catalogue = _catalogue(language)
    matching = [] if catalogue is None else [entry for entry in catalogue if entry.context == context]
    return {str(entry.id): str(entry.string) for entry in matching}


@cache
def _catalogue(language: str) -> Catalog | None:
    path = FOLDER / f"{language}.po"
    if not path.exists():
        return None
    with path.open("rb") as file:
        return read_po(file, locale=language)
