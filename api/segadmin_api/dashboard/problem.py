"""The page of an error."""

from __future__ import annotations

from segadmin_api.dashboard.render import render


def page(title: str, detail: str) -> str:
    """Return the page of a problem (RFC 9457) with its title and detail."""
    return render("problem.html", title=title, online=True, detail=detail)
