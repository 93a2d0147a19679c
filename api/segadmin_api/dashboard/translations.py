"""The texts of pages in other languages: gettext catalogues, ``locale/LANGUAGE.po``."""

from __future__ import annotations

import io
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from babel.messages.extract import extract_from_dir
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


def texts() -> set[str]:
    """Return the English texts of all pages: those to translate."""
    from segadmin_api.dashboard.dynamic_texts import dynamic_texts

    methods = [("**.html", "jinja2.ext:babel_extract"), ("**.py", "python")]
    keywords = {"_": None, "text_of": (2,)}
    found = extract_from_dir(FOLDER.parent, methods, keywords=keywords, options_map={"**.html": {"trimmed": "true"}})
    return {str(entry[2]) for entry in found} | dynamic_texts()
