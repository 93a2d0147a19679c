"""The pages that are one list: imports."""

from __future__ import annotations

from collections.abc import Sequence

from segadmin.storage.records import Import
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import served, text_of


def imports_page(imports: Sequence[Import], reader: Reader) -> str:
    """Return the page of imports, newest first."""
    title = text_of(reader, "data")
    return served("imports.html", title, "/data", reader, imports=imports)
