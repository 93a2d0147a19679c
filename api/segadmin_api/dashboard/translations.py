"""The texts of pages in other languages: gettext catalogues, ``locale/LANGUAGE.po``."""

from __future__ import annotations

import io
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

FOLDER = Path(__file__).parent / "locale"


@cache
def translations(language: str) -> NullTranslations:
    """Return the texts of a language; texts that have no translation stay English."""
    catalogue = FOLDER / f"{language}.po"
    if not catalogue.exists():
        return NullTranslations()
    compiled = io.BytesIO()
    with catalogue.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return GNUTranslations(compiled)
