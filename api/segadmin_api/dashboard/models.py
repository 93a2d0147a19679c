"""Model versions as a page."""

from __future__ import annotations

from collections.abc import Sequence

from segadmin.models.versions import VersionLine
from segadmin_api.dashboard.html import document, link, table
from segadmin_api.dashboard.layout import NAVIGATION
from segadmin_api.formatting import VERSIONS, version_row


def list_page(versions: Sequence[VersionLine]) -> str:
    """Return the page of ``versions``, in their order; each has its card behind its number."""
    rows = []
    for line in versions:
        number, *rest = version_row(line)
        rows.append((link(f"/models/{number}", number) if line.tested else number, *rest))
    empty = "<p>No models yet. Train one: <code>segadmin enqueue retrain --wait</code></p>"
    return document("models", [table(VERSIONS, rows) if rows else empty], above=NAVIGATION)
