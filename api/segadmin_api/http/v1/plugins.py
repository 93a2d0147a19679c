"""``/v1/plugins`` and ``/v1/backbones``: what is registered."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Annotated, Any

from fastapi import Path, Query, Request

from segadmin.contracts.plugins import KINDS, load_plugins
from segadmin.errors import PluginNotFound, did_you_mean
from segadmin.storage.records import Scope
from segadmin.urls import mask_secrets
from segadmin.workflows.backbone_options import DEFAULT_BACKBONES
from segadmin_api.http.v1.routing import allow, router, settings_of
from segadmin_api.schemas.data import Backbone, Backbones, Plugin, PluginDetails, PluginOption, Plugins
from segadmin_api.schemas.jobs import Name

plugins = router("/plugins", "plugins")
backbones = router("/backbones", "plugins")


@plugins.get("", dependencies=[allow(Scope.VIEWER)])
def list_plugins(
    request: Request, kind: Annotated[Name | None, Query(description="Only of this kind.")] = None
) -> Plugins:
    """List the registered plugins, and those that could not be loaded."""
    loaded = load_plugins(settings_of(request))
    if kind is not None:
        _check_kind(kind)
    items = [
        Plugin(kind=each.kind, name=each.name, distribution=each.distribution)
        for of_kind in KINDS
        if kind in {None, of_kind}
        for _, each in sorted(loaded.registered[of_kind].items())
    ]
    return Plugins(items=items, broken=[mask_secrets(str(error)) for error in loaded.broken.values()])


@plugins.get("/{kind}/{name}", dependencies=[allow(Scope.VIEWER)])
def show_plugin(
    request: Request,
    kind: Annotated[str, Path(max_length=100, description="The kind of plugin.")],
    name: Annotated[str, Path(max_length=200, description="The name of the plugin.")],
) -> PluginDetails:
    """Show the description of a plugin, and its options with their defaults."""
    _check_kind(kind)
    registration = load_plugins(settings_of(request)).find(kind, name)
    plugin = registration.load()
    fields = dataclasses.fields(plugin) if dataclasses.is_dataclass(plugin) else ()
    options = [
        PluginOption(name=field.name, type=str(field.type), default=_default(field)) for field in fields if field.init
    ]
    doc = inspect.getdoc(plugin) or ""
    return PluginDetails(kind=kind, name=name, distribution=registration.distribution, doc=doc, options=options)


@backbones.get("", dependencies=[allow(Scope.VIEWER)])
def list_backbones(request: Request) -> Backbones:
    """List the registered backbones; which of them a worker can use, `segadmin backbones list` says there."""
    loaded = load_plugins(settings_of(request))
    return Backbones(
        items=[
            Backbone(
                kind="backbone",
                name=name,
                distribution=loaded.find("backbone", name).distribution,
                default_for=[language for language, default in DEFAULT_BACKBONES.items() if default == name],
            )
            for name in loaded.names("backbone")
        ]
    )


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise PluginNotFound(f"There is no kind of plugin {kind!r}.{did_you_mean(kind, KINDS)}")


def _default(field: dataclasses.Field[Any]) -> str | None:
    if field.default is not dataclasses.MISSING:
        return str(field.default)
    return None if field.default_factory is dataclasses.MISSING else str(field.default_factory())
