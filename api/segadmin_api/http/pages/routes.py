"""What the routes of pages share: who may open them, and the numbers in their paths."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from segadmin.settings import Settings
from segadmin.storage.records import Scope
from segadmin_api.http.forms import PageRoute
from segadmin_api.http.security import RequiresPages

#: The number of a record.
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


def pages_router(scope: Scope | None = Scope.PAGES) -> APIRouter:
    """Return a router of pages that keys of ``scope`` open; ``None``: any key."""
    return APIRouter(include_in_schema=False, dependencies=[Depends(RequiresPages(scope))], route_class=PageRoute)


def forms_router() -> APIRouter:
    """Return a router of the forms of pages; each route depends on a :class:`~segadmin_api.http.forms.RequiresForm`."""
    return APIRouter(include_in_schema=False, route_class=PageRoute)


def settings_of(request: Request) -> Settings:
    """Return the settings of the application."""
    settings: Settings = request.app.state.settings
    return settings
