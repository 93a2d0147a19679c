"""The backbone that a request names: resolved by the registry, and checked where the workers are on this machine."""

from __future__ import annotations

from typing import Any

from segadmin.contracts.plugins import Plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import BackboneUnavailable
from segadmin.settings import Settings

#: Where nobody says which, and no version to go on from tells.
DEFAULT_BACKBONE = "minilm"


def resolved_backbone(plugins: Plugins, backbone: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields ``backbone`` and ``backbone_options`` of a request, as the registry knows them."""
    name, all_options = resolve_backbone(plugins, backbone or DEFAULT_BACKBONE, options)
    return {"backbone": name, "backbone_options": all_options}


def check_here(settings: Settings, plugins: Plugins, *needed: Any) -> None:
    """Check what the workers will need, where they are on this machine.

    Raises:
        BackboneUnavailable: weights or libraries are missing.
    """
    if not settings.embedded_broker:
        return
    for each in needed:
        try:
            each.check(settings)
        except BackboneUnavailable as error:  # the name of a backbone whose plugin failed is taken for a model's
            raise BackboneUnavailable(f"{error}{plugins.failures}") from None
