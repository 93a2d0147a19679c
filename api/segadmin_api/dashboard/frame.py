"""What every page of the dashboard has."""

from __future__ import annotations

from segadmin.pages import link

_SECONDS = 3
NAVIGATION = f"<nav>{link('/jobs', 'Jobs')}{link('/models', 'Models')}{link('/openapi.json', 'API')}</nav>"


def again() -> str:
    """Return what makes a browser ask for the page again: needs no script, and keeps its place."""
    return f'<meta http-equiv="refresh" content="{_SECONDS}">'
