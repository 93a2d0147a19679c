"""Finding plugins, and looking things up in what they registered."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import pluggy
from pydantic import TypeAdapter, ValidationError

from segadmin import hookspecs
from segadmin.errors import ConfigurationError, PluginError, PluginLoadError, PluginNotFound, did_you_mean
from segadmin.settings import Settings

#: The built-ins: plain modules with the same hooks as anybody's, imported by name.
BUILTINS = ("segadmin_plugins",)
GROUP = "segadmin"
#: What can be registered, and the hook that registers it.
KINDS = {
    "textualizer": "register_textualizers",
    "backbone": "register_backbones",
    "tuner": "register_tuners",
    "tracker": "register_trackers",
    "labeler": "register_labelers",
    "source": "register_sources",
    "sink": "register_sinks",
}


@dataclass(frozen=True)
class Registered:
    """One thing that a plugin offers."""

    kind: str
    name: str
    target: type[Any] | str  #: the class, or ``module:Class``
    distribution: str  #: ``name version`` of the package it came from, or the file

    def load(self) -> type[Any]:
        """Return the class, importing it if it was registered by name.

        Raises:
            PluginLoadError: the import failed.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return cast("type[Any]", getattr(importlib.import_module(module), attribute))
        except Exception as error:
            raise PluginLoadError(
                f"The {self.kind} {self.name!r} of {self.distribution} cannot be imported: {error!r}."
            ) from error


@dataclass
class Plugins:
    """All that was found, by kind and name."""

    manager: pluggy.PluginManager
    registered: dict[str, dict[str, Registered]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    broken: list[PluginLoadError] = field(default_factory=list)

    def names(self, kind: str) -> list[str]:
        """Return the names registered for ``kind``, sorted."""
        return sorted(self.registered[kind])

    def find(self, kind: str, name: str) -> Registered:
        """Look a name up.

        Raises:
            PluginNotFound: with the nearest name, and with the plugins that failed to load.
        """
        found = self.registered[kind].get(name)
        if found is None:
            failed = "".join(f" ({error})" for error in self.broken)
            raise PluginNotFound(f"There is no {kind} {name!r}.{did_you_mean(name, self.names(kind))}{failed}")
        return found

    def make(self, kind: str, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """Return an instance with ``options``; strings become what the field's type says.

        Raises:
            PluginNotFound: there is no such name.
            PluginLoadError: the plugin cannot be imported.
            ConfigurationError: an option is unknown or has a value that cannot be used.
        """
        made = self.find(kind, name).load()
        known = getattr(made, "__dataclass_fields__", {})
        for option in options or {}:
            if option not in known:
                raise ConfigurationError(
                    f"The {kind} {name!r} has no option {option!r}.{did_you_mean(option, known)}"
                    + ("" if known else " It takes none.")
                )
        if not known:
            return made()
        try:
            return TypeAdapter(made).validate_python(dict(options or {}))
        except ValidationError as error:
            first = error.errors()[0]
            option = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(
                f"The {kind} {name!r} cannot use {option}={first['input']!r}: {first['msg']}."
            ) from None

    def announce(self, hook: str, **facts: Any) -> None:
        """Call a lifecycle hook.

        Raises:
            PluginError: naming the hook and the error.
        """
        try:
            getattr(self.manager.hook, hook)(**facts)
        except Exception as error:
            raise PluginError(f"A plugin failed in {hook}: {error!r}") from error


@lru_cache(maxsize=4)
def load_plugins(settings: Settings) -> Plugins:
    """Load the built-ins, the installed plugins and the plugin files of ``settings``, once per process."""
    manager = pluggy.PluginManager("segadmin")
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(manager)
    for module in BUILTINS:
        _add(plugins, importlib.import_module(module), module, f"segadmin {_version('segadmin')}")
    for entry in _entry_points(settings):
        assert entry.dist is not None
        origin = f"{entry.dist.name} {entry.dist.version}"
        try:
            _add(plugins, entry.load(), f"{entry.dist.name}:{entry.name}", origin)
        except Exception as error:
            mend = f"Upgrade it, or set SEGADMIN_PLUGINS_DISABLED={entry.dist.name}"
            plugins.broken.append(PluginLoadError(f"The plugin {origin} cannot be loaded: {error!r}. {mend}."))
    for path in settings.plugin_files:
        _add(plugins, _module_of(path), str(path), path.name)
    return plugins


def _entry_points(settings: Settings) -> Iterator[importlib.metadata.EntryPoint]:
    for entry in importlib.metadata.entry_points(group=GROUP):
        name = entry.dist.name if entry.dist else ""
        if name in settings.plugins_disabled or (settings.plugins_allowed and name not in settings.plugins_allowed):
            continue
        yield entry


def _module_of(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(f"segadmin_plugin_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise PluginLoadError(f"The plugin file {path} cannot be read. Check --plugin-file or SEGADMIN_PLUGIN_FILES.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise PluginLoadError(f"The plugin file {path} fails when imported: {error!r}.") from error
    return module


def _add(plugins: Plugins, plugin: object, name: str, origin: str) -> None:
    """Register a plugin and all it offers, or, on an error, nothing of it."""
    plugins.manager.register(plugin, name=name)
    try:
        offers = [one for kind, hook in KINDS.items() for one in _offers(plugins, plugin, kind, hook, origin)]
        for one in offers:
            other = plugins.registered[one.kind].get(one.name)
            if other is not None:
                raise PluginLoadError(f"it registers the {one.kind} {one.name!r}, which {other.distribution} has")
    except Exception:
        plugins.manager.unregister(plugin)
        raise
    for one in offers:
        plugins.registered[one.kind][one.name] = one


def _offers(plugins: Plugins, plugin: object, kind: str, hook: str, origin: str) -> Iterator[Registered]:
    others = [one for one in plugins.manager.get_plugins() if one is not plugin]
    for listed in plugins.manager.subset_hook_caller(hook, others)():
        for entry in listed:
            if isinstance(entry, str):
                name, _, target = (part.strip() for part in entry.partition("="))
                yield Registered(kind, name, target, origin)
            else:
                yield Registered(kind, entry.name, entry, origin)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
