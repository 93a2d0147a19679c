"""The pages of plugins: what is installed, and one with its options and contract tests."""

from __future__ import annotations

from collections.abc import Sequence

from segadmin.contracts.plugins import KINDS
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import name_of, served, text_of
from segadmin_api.plugin_details import CHECKED, summary_of
from segadmin_api.schemas.data import Plugin, PluginCheck, PluginDetails


def list_page(plugins: Sequence[Plugin], broken: Sequence[str], reader: Reader) -> str:
    """Return the page of all plugins, by kind.

    Args:
        plugins: the registered ones.
        broken: what could not be loaded, and why.
        reader: who reads it.
    """
    by_kind = {kind: [plugin for plugin in plugins if plugin.kind == kind] for kind in KINDS}
    kinds = {kind: rows for kind, rows in by_kind.items() if rows}
    title = text_of(reader, "plugins")
    return served("plugins.html", title, "/plugins", reader, tab="/plugins", kinds=kinds, broken=broken)


def page(plugin: PluginDetails, reader: Reader, check: PluginCheck | None = None) -> str:
    """Return the page of a plugin, with the result of its contract tests if they just ran."""
    title, checkable = f"{name_of(reader, plugin.kind, 'plugin')} {plugin.name}", plugin.kind in CHECKED
    english = summary_of(plugin.doc)
    summary = name_of(reader, english, "summary")
    is_translated = summary != english
    content: dict[str, object] = {"plugin": plugin, "check": check, "checkable": checkable}
    content |= {"summary": summary if is_translated else "", "doc": _rest(plugin.doc) if is_translated else plugin.doc}
    return served("plugin.html", title, "/plugins", reader, tab="/plugins", **content)


def _rest(doc: str) -> str:
    """Return a description without its first paragraph."""
    return doc.partition("\n\n")[2]
