"""What every page of the dashboard has."""

from __future__ import annotations

from segadmin_api.dashboard.html import link

NAVIGATION = f"<nav>{link('/jobs', 'Jobs')}{link('/models', 'Models')}{link('/openapi.json', 'API')}</nav>"
#: Makes a browser ask for the page again after three seconds: needs no script, and keeps its place.
AGAIN = '<meta http-equiv="refresh" content="3">'
