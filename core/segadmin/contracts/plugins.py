"""Finding plugins, and looking things up in what they registered."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2s
from pathlib import Path
from typing import Any

import pluggy
from pydantic import TypeAdapter, ValidationError

from segadmin.contracts import hookspecs
from segadmin.contracts.plugin_errors import describe, note_home
from segadmin.errors import INTERRUPTS, ConfigurationError, PluginError, PluginLoadError, PluginNotFound, did_you_mean
from segadmin.settings import Settings
from segadmin.urls import mask_all

log = logging.getLogger(__name__)
#: The built-ins: plain modules with the same hooks as anybody's, imported by name.
BUILTINS = ("segadmin_plugins",)
GROUP = "segadmin"
#: What can be registered, and the hook that registers it.
KINDS = {
    "textualizer": "register_textualizers",
    "backbone": "register_backbones",
    "tuner": "register_tuners",
    "engine": "register_engines",
    "tracker": "register_trackers",
    "labeler": "register_labelers",
    "modality": "register_modalities",
    "source": "register_sources",
    "sink": "register_sinks",
    "feed": "register_feeds",
}


@dataclass(frozen=True)
class Registered:
    """One thing that a plugin offers."""

    kind: str
    name: str
    target: type[Any] | str  #: the class, ``module:Class``, or for an alias the name that it stands for
    distribution: str  #: ``name version`` of the package it came from, or the file

    @property
    def is_alias(self) -> bool:
        """Whether it is another name of what the same plugin registers too, such as one that it had before."""
        return isinstance(self.target, str) and ":" not in self.target

    def load(self) -> type[Any]:
        """Return the class, importing it if it was registered by name.

        Raises:
            PluginLoadError: the import failed.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            loaded = getattr(importlib.import_module(module), attribute)
        except INTERRUPTS:
            raise
        except BaseException as error:
            raise PluginLoadError(
                f"The {self.kind} {self.name!r} of {self.distribution} cannot be imported: {describe(error)}."
            ) from error
        if not isinstance(loaded, type):
            raise PluginLoadError(f"The {self.kind} {self.name!r} of {self.distribution} is {loaded!r}, not a class.")
        return loaded


@dataclass
class Plugins:
    """All that was found, by kind and name."""

    manager: pluggy.PluginManager
    settings: Settings
    registered: dict[str, dict[str, Registered]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    #: Names that are found and not listed, by kind: alias → name.
    aliases: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    #: What could not be loaded: plugin file, or ``distribution:entry point`` → why.
    broken: dict[str, PluginLoadError] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """Return the names registered for ``kind``, sorted."""
        return sorted(self.registered[kind])

    @property
    def failures(self) -> str:
        """The plugins that could not be loaded, to be added to a message about a name that is missing."""
        return "".join(f" ({error})" for error in self.broken.values())

    def find(self, kind: str, name: str) -> Registered:
        """Look a name up.

        Raises:
            PluginNotFound: with the nearest name, and with the plugins that failed to load.
        """
        registered = self.registered[kind].get(self.aliases[kind].get(name, name))
        if registered is None:
            raise PluginNotFound(f"There is no {kind} {name!r}.{did_you_mean(name, self.names(kind))}{self.failures}")
        return registered

    def check_engine(self) -> None:
        """Check that there is the engine that the settings name.

        Raises:
            PluginNotFound: there is not.
        """
        if self.settings.engine == "auto":
            return
        try:
            self.find("engine", self.settings.engine)
        except PluginNotFound as error:
            raise PluginNotFound(f"{error} Correct or unset SEGADMIN_ENGINE.") from None

    def classes(self, kind: str) -> Iterator[tuple[str, type[Any]]]:
        """Yield the classes of ``kind`` by name; one that cannot be imported is left out, and becomes broken."""
        for name in self.names(kind):
            try:
                yield name, self.find(kind, name).load()
            except PluginLoadError as error:
                self.broken[f"{kind} {name}"] = error

    def choose(self, kind: str, fits: Callable[[type[Any]], bool]) -> str | None:
        """Return the first name, in their order, whose class fits, or ``None``; one that fails does not fit."""
        for name, candidate in self.classes(kind):
            try:
                if fits(candidate):
                    return name
            except INTERRUPTS:
                raise
            except BaseException as error:
                message = f"The {kind} {name!r} of {self.find(kind, name).distribution} failed: {describe(error)}."
                self.broken[f"{kind} {name}"] = PluginLoadError(message)
        return None

    def make(self, kind: str, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """Return an instance with ``options``, made for these settings; strings become what the field's type says.

        Raises:
            PluginNotFound: there is no such name.
            PluginLoadError: the plugin cannot be imported.
            ConfigurationError: an option is unknown or has a value that cannot be used.
        """
        made = self.find(kind, name).load()
        fields = getattr(made, "__dataclass_fields__", {})
        for option in options or {}:
            if option not in fields:
                raise ConfigurationError(
                    f"The {kind} {name!r} has no option {option!r}.{did_you_mean(option, fields)}"
                    + ("" if fields else " It takes none.")
                )
        try:
            instance = TypeAdapter(made).validate_python(dict(options or {})) if fields else made()
        except ValidationError as error:
            first = error.errors()[0]
            option = ".".join(str(part) for part in first["loc"])
            shown = mask_all(first["input"], (option,))
            raise ConfigurationError(f"The {kind} {name!r} cannot use {option}={shown!r}: {first['msg']}.") from None
        with_settings = getattr(instance, "with_settings", None)
        return instance if with_settings is None else with_settings(self.settings)

    def announce(self, hook: str, **facts: Any) -> None:
        """Call a lifecycle hook of every plugin; one that fails does not keep the others from being called.

        Raises:
            PluginError: naming the plugins that failed, the hook and the errors.
        """
        failures = []
        for plugin in self.manager.get_plugins():
            others = [other for other in self.manager.get_plugins() if other is not plugin]
            try:
                self.manager.subset_hook_caller(hook, others)(**facts)
            except INTERRUPTS:
                raise
            except BaseException as error:
                failures.append(f"The plugin {self.manager.get_name(plugin)} failed in {hook}: {describe(error)}.")
                log.exception(failures[-1], extra={"action": "hook"})
        if failures:
            raise PluginError(" ".join(failures))


@lru_cache(maxsize=4)
def load_plugins(settings: Settings) -> Plugins:
    """Load the built-ins, the installed plugins and the plugin files of ``settings``, once per process.

    A plugin that cannot be loaded is kept in :attr:`Plugins.broken`; everything else goes on.
    """
    manager = pluggy.PluginManager("segadmin")
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(manager, settings)
    for module in BUILTINS:
        _add(plugins, importlib.import_module(module), module, f"segadmin {_version('segadmin')}")
    for entry in _entry_points(settings):
        assert entry.dist is not None
        origin = f"{entry.dist.name} {entry.dist.version}"
        fix = f"Upgrade it, or set SEGADMIN_PLUGINS_DISABLED={entry.dist.name}"
        home = _home(entry.module)
        if home:
            note_home(home, origin)
        with _guarded(plugins, f"{entry.dist.name}:{entry.name}", f"The plugin {origin}", fix, home) as name:
            _add(plugins, entry.load(), name, origin)
    for path in dict.fromkeys(settings.plugin_files):
        fix = "Correct it, or take it out of SEGADMIN_PLUGIN_FILES"
        note_home(str(path), path.name)
        with _guarded(plugins, str(path), f"The plugin file {path}", fix, str(path)) as name:
            _add(plugins, _module_of(path), name, path.name)
    return plugins


@contextmanager
def _guarded(plugins: Plugins, name: str, what: str, fix: str, home: str) -> Iterator[str]:
    """Note a plugin that fails to load as broken, whatever it raises: ``sys.exit()`` is a failure like others."""
    try:
        yield name
    except INTERRUPTS:
        raise
    except BaseException as error:
        reason = str(error) if isinstance(error, _Refused) else f"it cannot be imported: {describe(error, home)}"
        end = "" if reason.endswith("?") else "."  # "Did you mean …?"
        plugins.broken[name] = failure = PluginLoadError(f"{what} is not loaded: {reason}{end} {fix}.")
        log.debug(str(failure), exc_info=error, extra={"action": "load plugin"})


class _Refused(PluginLoadError):
    """A plugin was imported, and what it registers cannot be used."""


def _home(module: str) -> str:
    """Return the file or folder that holds a module's top-level package, without importing it; else nothing."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return ""
    if spec is None or spec.origin is None:
        return ""
    return str(Path(spec.origin).parent) if spec.submodule_search_locations else spec.origin


def _entry_points(settings: Settings) -> Iterator[importlib.metadata.EntryPoint]:
    for entry in importlib.metadata.entry_points(group=GROUP):
        name = entry.dist.name if entry.dist else ""
        if name in settings.plugins_disabled or (settings.plugins_allowed and name not in settings.plugins_allowed):
            continue
        yield entry


def _module_of(path: Path) -> object:
    digest = blake2s(os.fsencode(path.resolve()), digest_size=4).hexdigest()  # two folders may have files of one name
    spec = importlib.util.spec_from_file_location(f"segadmin_plugin_{digest}", path)
    if not path.is_file():
        raise _Refused("there is no such file")
    if spec is None or spec.loader is None:
        raise _Refused("it is not a Python file, whose name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _add(plugins: Plugins, plugin: object, name: str, origin: str) -> None:
    """Register a plugin and all it offers, or, on an error, nothing of it."""
    _check_hooks(plugins.manager, plugin)
    try:
        plugins.manager.register(plugin, name=name)
    except pluggy.PluginValidationError as error:  # arguments that the hook does not have
        raise _Refused(" ".join(str(error).split()).rstrip(".")) from error
    try:
        offers = [offer for kind, hook in KINDS.items() for offer in _offers(plugins, plugin, kind, hook, origin)]
        for offer in offers:
            other = plugins.registered[offer.kind].get(plugins.aliases[offer.kind].get(offer.name, offer.name))
            if other is not None:
                hook = KINDS[offer.kind]
                raise _Refused(f"{hook} gives the {offer.kind} {offer.name!r}, which {other.distribution} has")
    except BaseException:
        plugins.manager.unregister(plugin)
        raise
    for offer in offers:
        if offer.is_alias:
            plugins.aliases[offer.kind][offer.name] = str(offer.target)
        else:
            plugins.registered[offer.kind][offer.name] = offer


def _check_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuse a hook that does not exist: it would never be called.

    Raises:
        PluginLoadError: naming it, and the one that was probably meant.
    """
    hooks = [name for name in vars(hookspecs) if manager.parse_hookspec_opts(hookspecs, name) is not None]
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is not None and not options["optionalhook"] and name not in hooks:
            raise _Refused(f"there is no hook {name!r}.{did_you_mean(name, hooks)}".rstrip("."))


def _offers(plugins: Plugins, plugin: object, kind: str, hook: str, origin: str) -> Iterator[Registered]:
    others = [other for other in plugins.manager.get_plugins() if other is not plugin]
    try:
        results = plugins.manager.subset_hook_caller(hook, others)()
    except INTERRUPTS:
        raise
    except BaseException as error:
        raise _Refused(f"{hook} failed: {describe(error)}") from error
    for listed in results:
        if not isinstance(listed, list | tuple):
            raise _Refused(f"{hook} returned {listed!r} and not a list")
        for entry in listed:
            yield _registered(kind, hook, entry, origin)


def _registered(kind: str, hook: str, entry: object, origin: str) -> Registered:
    """Return what an entry of a hook's list offers.

    Raises:
        PluginLoadError: it is neither a class with a name nor a line such as ``name = module:Class`` or, for an alias,
            ``name = other name``.
    """
    if isinstance(entry, str):
        name, _, target = (part.strip() for part in entry.partition("="))
        module, colon, attribute = target.partition(":")
        if name and module and bool(colon) is bool(attribute):
            return Registered(kind, name, target, origin)
    elif isinstance(entry, type) and isinstance(own := getattr(entry, "name", None), str) and own:
        return Registered(kind, own, entry, origin)
    raise _Refused(
        f"{hook} has {entry!r} in its list, which is neither a {kind} class with a name nor 'name = module:Class'"
    )


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
