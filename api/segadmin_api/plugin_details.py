"""What is known of a plugin: its description and options, and whether it keeps its contract."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from segadmin.contracts.option_text import option_text
from segadmin.contracts.plugins import KINDS, load_plugins
from segadmin.errors import PluginNotFound, did_you_mean
from segadmin.settings import Settings
from segadmin_api.option_types import type_words
from segadmin_api.schemas.data import Plugin, PluginDetails, PluginOption

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
    hints = get_type_hints(plugin, include_extras=True)
    options = [
        PluginOption(name=field.name, type=type_words(hints[field.name], translate), default=_default(field))
        for field in fields
        if field.init
    ]
    doc = inspect.getdoc(plugin) or ""
    return PluginDetails(kind=kind, name=name, distribution=registration.distribution, doc=doc, options=options)


def summary_of(doc: str) -> str:
    """Return the first paragraph of the description of a plugin, in one line."""
    return " ".join(doc.split("\n\n", maxsplit=1)[0].split())


def check_kind(kind: str) -> None:
    """Refuse a kind of plugin that there is not."""
    if kind not in KINDS:
        raise PluginNotFound(f"There is no kind of plugin {kind!r}.{did_you_mean(kind, KINDS)}")


def _default(field: dataclasses.Field[Any]) -> str | None:
    if field.default is not dataclasses.MISSING:
        return _text(field.default)
    return None if field.default_factory is dataclasses.MISSING else _text(field.default_factory())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as it is written
    return "" if value is None else option_text(value)
