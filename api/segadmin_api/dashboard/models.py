"""The page of model versions."""

from __future__ import annotations

from collections.abc import Sequence

from segadmin.models.versions import VersionLine
from segadmin_api.dashboard.reader import ENGLISH, Reader
from segadmin_api.dashboard.render import render, text_of
from segadmin_api.formatting import VERSIONS, version_row


def list_page(versions: Sequence[VersionLine], reader: Reader = ENGLISH) -> str:
    """Return the page of ``versions``, in the given order; tested versions link to their cards."""
    links = [f"/models/{line.version.id}" if line.tested else "" for line in versions]
    rows = [version_row(line) for line in versions]
    return render(
        "models.html",
        title=text_of(reader, "models"),
        here="/models",
        online=True,
        reader=reader,
        columns=VERSIONS,
        rows=rows,
        links=links,
    )
