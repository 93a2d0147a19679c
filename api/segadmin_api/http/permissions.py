"""Who may call which route, read from the routes themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from segadmin.storage.records import Scope
from segadmin_api.http.security import Requires


@dataclass(frozen=True)
class Permission:
    """What a route asks for."""

    method: str
    path: str
    needs_key: bool
    scope: Scope | None  #: ``None``: any key, if it needs one

    def allows(self, key: Scope | None) -> bool:
        """Return whether a key of a scope may call it; ``None``: no key."""
        if not self.needs_key:
            return True
        return key is not None and (self.scope is None or self.scope in key.includes)

    @property
    def scopes(self) -> list[Scope]:
        """The scopes of the keys that may call it."""
        return [scope for scope in Scope if self.allows(scope)]


def permissions(routers: Sequence[APIRouter]) -> list[Permission]:
    """Return what every route of ``routers`` asks for, in their order."""
    return [
        _permission(method, route)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


def _permission(method: str, route: APIRoute) -> Permission:
    asked = list(_required(route.dependant))
    scopes = [each.scope for each in asked if each.scope is not None]
    narrowest = min(scopes, key=lambda scope: sum(scope in key.includes for key in Scope), default=None)
    return Permission(method, route.path, bool(asked), narrowest)


def _required(dependant: Dependant) -> Iterator[Requires]:
    """Yield the :class:`Requires` that a route depends on, also through others."""
    if isinstance(dependant.call, Requires):
        yield dependant.call
    for each in dependant.dependencies:
        yield from _required(each)
