"""What is known of a plugin: its description and options, and whether it keeps its contract."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from typing import Any, get_type_hints

from segadmin.contracts.option_text import option_text
from segadmin.contracts.plugin_errors import describe
from segadmin.contracts.plugins import KINDS, load_plugins
from segadmin.contracts.plugins import Plugins as PluginRegistry
from segadmin.errors import INTERRUPTS, PluginNotFound, SegadminError, did_you_mean
from segadmin.settings import Settings
from segadmin.urls import mask_secrets
from segadmin.workflows.backbone_options import DEFAULT_BACKBONES
from segadmin_api.option_types import type_words
from segadmin_api.schemas.data import Backbone, Backbones, Plugin, PluginDetails, PluginOption, Plugins, PretrainedModel

#: The kinds with contract tests.
CHECKED = frozenset({"textualizer", "backbone", "engine", "modality"})


def list_plugins(settings: Settings, kind: str | None = None) -> list[Plugin]:
    """Return the registered plugins, by kind and name.

    Raises:
        PluginNotFound: there is no such kind.
    """
    loaded = load_plugins(settings)
    if kind is not None:
        check_kind(kind)
    return [
        Plugin(kind=each.kind, name=each.name, distribution=each.distribution)
        for of_kind in KINDS
        if kind in {None, of_kind}
        for _, each in sorted(loaded.registered[of_kind].items())
    ]


def all_plugins(settings: Settings, kind: str | None = None) -> Plugins:
    """Return the registered plugins, and those that could not be loaded; errors as of :func:`list_plugins`."""
    broken = load_plugins(settings).broken.values()
    return Plugins(items=list_plugins(settings, kind), broken=[mask_secrets(str(error)) for error in broken])


def all_backbones(settings: Settings) -> Backbones:
    """Return the registered backbones, and the pretrained models on this machine."""
    from segadmin_plugins.backbones.transformer.weights_cache import kept

    plugins = load_plugins(settings)
    models = list(map(PretrainedModel.model_validate, kept(settings)))
    return Backbones(items=[_backbone(plugins, name) for name in plugins.names("backbone")], models=models)


def _backbone(plugins: PluginRegistry, name: str) -> Backbone:
    """Return a backbone, the languages of which it is the default, and why it cannot be used here, if so."""
    problem = None
    try:
        plugins.make("backbone", name).check(plugins.settings)
    except SegadminError as error:
        problem = mask_secrets(str(error)) if name != "hf" else "It needs a model: --backbone-option model=…"
    except INTERRUPTS:
        raise
    except BaseException as error:  # of somebody else's plugin
        problem = mask_secrets(describe(error))
    return Backbone(
        kind="backbone",
        name=name,
        distribution=plugins.find("backbone", name).distribution,
        default_for=[language for language, default in DEFAULT_BACKBONES.items() if default == name],
        problem=problem,
    )


def plugin_details(settings: Settings, kind: str, name: str, translate: Callable[[str], str] = str) -> PluginDetails:
    """Return the description of a plugin, and its options with their defaults and what they take, in words.

    Args:
        settings: which plugins there are.
        kind: of the plugin.
        name: of the plugin.
        translate: returns the words of types in another language.

    Raises:
        PluginNotFound: there is none.
        PluginLoadError: it cannot be imported.
    """
    check_kind(kind)
    registration = load_plugins(settings).find(kind, name)
    plugin = registration.load()
    fields = dataclasses.fields(plugin) if dataclasses.is_dataclass(plugin) else ()
    hints = get_type_hints(plugin, include_extras=True) if fields else {}
    return PluginDetails(
        kind=kind,
        name=name,
        distribution=registration.distribution,
        doc=inspect.getdoc(plugin) or "",
        options=[_option(field, type_words(hints[field.name], translate)) for field in fields if field.init],
        templates=getattr(plugin, "templates", {}) if kind == "textualizer" else None,
    )


def summary_of(doc: str) -> str:
    """Return the first paragraph of the description of a plugin, in one line."""
    return " ".join(doc.split("\n\n", maxsplit=1)[0].split())


def check_kind(kind: str) -> None:
    """Refuse a kind of plugin that there is not."""
    if kind not in KINDS:
        raise PluginNotFound(f"There is no kind of plugin {kind!r}.{did_you_mean(kind, KINDS)}")


def _option(field: dataclasses.Field[Any], words: str) -> PluginOption:
    option = PluginOption(name=field.name, type=words, default=None)
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        return option
    return option.model_copy(update={"default": _text(default), "typed_default": _as_json(default)})


def _as_json(default: Any) -> Any:
    """Return a default as JSON has it."""
    return json.loads(json.dumps(default, default=str))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as it is written
    return "" if value is None else option_text(value)
