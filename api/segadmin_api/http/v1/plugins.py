"""``/v1/plugins`` and ``/v1/backbones``: what is registered."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Path, Query, Request

from segadmin.storage.records import Scope
from segadmin_api.http.diagnosis import check_plugin, run_backbone_check
from segadmin_api.http.v1.routing import allow, changes, router, settings_of
from segadmin_api.plugin_details import all_backbones, all_plugins, plugin_details
from segadmin_api.schemas.data import (
    BackboneCheck,
    BackboneCheckRequest,
    Backbones,
    PluginCheck,
    PluginCheckRequest,
    PluginDetails,
    Plugins,
)
from segadmin_api.schemas.jobs import Name

plugins = router("/plugins", "plugins")
backbones = router("/backbones", "plugins")
Kind = Annotated[str, Path(max_length=100, description="The kind of plugin.")]
PluginName = Annotated[str, Path(max_length=200, description="The name of the plugin.")]


@plugins.get("", dependencies=[allow(Scope.VIEWER)])
def list_plugins(
    request: Request, kind: Annotated[Name | None, Query(description="Only of this kind.")] = None
) -> Plugins:
    """List the registered plugins, and those that could not be loaded."""
    return all_plugins(settings_of(request), kind)


@plugins.get("/{kind}/{name}", dependencies=[allow(Scope.VIEWER)])
def show_plugin(request: Request, kind: Kind, name: PluginName) -> PluginDetails:
    """Show the description of a plugin, and its options with their defaults."""
    return plugin_details(settings_of(request), kind, name)


@plugins.post("/{kind}/{name}/check", dependencies=[allow(Scope.ADMIN)], responses=changes())
def check(
    request: Request, kind: Kind, name: PluginName, how: Annotated[PluginCheckRequest | None, Body()] = None
) -> PluginCheck:
    """Run the contract tests on a plugin, as `segadmin plugins check` does; it takes seconds to minutes."""
    return check_plugin(settings_of(request), kind, name, how.options if how else {})


@backbones.get("", dependencies=[allow(Scope.VIEWER)])
def list_backbones(request: Request) -> Backbones:
    """List the registered backbones and the pretrained models, and whether they can be used on the server's machine."""
    return all_backbones(settings_of(request))


@backbones.post("/check", dependencies=[allow(Scope.ADMIN)], responses=changes())
def check_backbone(request: Request, wanted: BackboneCheckRequest) -> BackboneCheck:
    """Check that a backbone works on the server's machine, as `segadmin backbones check` does; it takes seconds."""
    return run_backbone_check(settings_of(request), wanted.model, wanted.options)
