"""The backbone that a request names: resolved by the registry, and checked where the workers are on this machine."""

from __future__ import annotations

from typing import Any

from segadmin.contracts.plugins import Plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import BackboneUnavailable
from segadmin.settings import Language, Settings

#: By language of the text: the backbone of requests that name none and continue from no version.
DEFAULT_BACKBONES: dict[Language, str] = {"en": "minilm", "zh": "e5"}
#: How options show that default.
DEFAULT_SHOWN = f"{DEFAULT_BACKBONES['en']}, for Chinese {DEFAULT_BACKBONES['zh']}"


def resolved_backbone(plugins: Plugins, backbone: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields ``backbone`` and ``backbone_options`` of a request, as the registry knows them."""
    name, all_options = resolve_backbone(plugins, backbone, options)
    return {"backbone": name, "backbone_options": all_options}


def chosen_backbone(
    plugins: Plugins, backbone: str | None, options: dict[str, Any], language: Language
) -> dict[str, Any]:
    """Return the same, with what the language decides where the request leaves it open."""
    fields = resolved_backbone(plugins, backbone or DEFAULT_BACKBONES[language], options)
    defaults = plugins.find("backbone", fields["backbone"]).load().language_defaults.get(language, {})
    return {**fields, "backbone_options": {**defaults, **fields["backbone_options"]}}


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
