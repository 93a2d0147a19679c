"""``segadmin plugins``: lists and describes plugins, and helps to write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from segadmin.contracts.plugins import KINDS, load_plugins
from segadmin.errors import ConfigurationError, PluginContractError, PluginNotFound, did_you_mean
from segadmin.settings import Language, Settings, get_settings
from segadmin_api.cli.output import JsonOption, UsageError, echo, group, parse_options, show_json, table
from segadmin_api.cli.remote import answer, connected
from segadmin_api.plugin_details import all_plugins, plugin_details

if TYPE_CHECKING:
    from segadmin.contracts.backbone import Backbone
    from segadmin.contracts.engine import Engine
    from segadmin.contracts.modality import Modality
    from segadmin.contracts.textualizer import Textualizer

app = group("Textualizers, backbones and other plugins.")


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help=f"Only this kind: {', '.join(KINDS)}.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the registered plugins, and those that could not be loaded."""
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(f"There is no kind of plugin {kind!r}.{did_you_mean(kind, KINDS)}")
    plugins = answer(lambda settings: all_plugins(settings, kind), lambda client: client.list_plugins(kind=kind))
    rows = [{"kind": plugin.kind, "name": plugin.name, "from": plugin.distribution} for plugin in plugins.items]
    if as_json:
        show_json({"plugins": rows, "broken": plugins.broken})
        return
    table("", ["kind", "name", "from"], [list(row.values()) for row in rows])
    for error in plugins.broken:
        echo(error, err=True)


@app.command()
def show(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(help="The name of the plugin.")],
    as_json: JsonOption = False,
) -> None:
    """Show the description of a plugin, and its options with their defaults."""
    if kind not in KINDS:
        raise ConfigurationError(f"There is no kind of plugin {kind!r}.{did_you_mean(kind, KINDS)}")
    plugin = answer(
        lambda settings: plugin_details(settings, kind, name), lambda client: client.show_plugin(kind, name)
    )
    templates = plugin.templates or {}
    if as_json:
        options = [{"option": each.name, "type": each.type, "default": each.typed_default} for each in plugin.options]
        facts = {"kind": kind, "name": name, "from": plugin.distribution, "doc": plugin.doc, "options": options}
        show_json({**facts, "templates": templates} if kind == "textualizer" else facts)
        return
    echo(f"{kind} {name}, from {plugin.distribution}\n\n{plugin.doc}\n")
    rows = [[each.name, each.type, _shown(each.typed_default)] for each in plugin.options]
    table("", ["option", "value", "default"], rows, empty="It takes no options.")
    if templates:
        echo("\nA file given as --templates can replace these; further entries of a list are used only by --augment:\n")
        for language in get_args(Language):
            echo(f"[{language}.{name}]")
            for template, texts in templates.items():
                echo(f"{template} = {json.dumps(texts[language], ensure_ascii=False)}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The name of the textualizer, such as `emoji`.")],
    folder: Annotated[Path, typer.Option(help="The folder in which to create the package.")] = Path(),
) -> None:
    """Write a package with a textualizer and its test, ready to install."""
    from segadmin_api.cli.scaffold import write_package

    package = write_package(name, folder)
    echo(f"Wrote {package}. Next:")
    echo(f"  pip install -e {package} && segadmin plugins check {name}")


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(help="A textualizer, backbone, engine or modality, or a Python file with some.")
    ],
    option: Annotated[list[str] | None, typer.Option(help="key=value option of the plugin; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only the plugin of this kind, if several have the name.")] = None,
) -> None:
    """Run the contract tests on a textualizer, a backbone, an engine or a modality."""
    options = parse_options(option or [], "--option")
    if get_settings().server is not None:
        _check_there(name, kind, options)
        return
    settings, path = get_settings(), Path(name)
    if path.suffix == ".py" and path.resolve() not in settings.plugin_files:
        settings = settings.model_copy(update={"plugin_files": (*settings.plugin_files, path.resolve())})
    plugins = load_plugins(settings)
    if (broken := plugins.broken.get(str(path.resolve()), plugins.broken.get(name))) is not None:
        raise broken
    checkable = [registration for each in _kinds(kind) for registration in plugins.registered[each].values()]
    selected = [
        registration
        for registration in checkable
        if registration.name == name or (path.suffix == ".py" and registration.distribution == path.name)
    ]
    if not selected and path.suffix == ".py":
        raise ConfigurationError(
            f"{name} registers no {', '.join(_kinds(kind))}. Is its hook marked @segadmin.hookimpl?"
        )
    if not selected:
        registered = [each for of_kind in _kinds(kind) for each in plugins.names(of_kind)]
        raise PluginNotFound(f"{_none(kind, name)}{did_you_mean(name, registered)}{plugins.failures}")
    for registration in selected:
        plugin = plugins.make(registration.kind, registration.name, options)
        try:
            report = _SUITES[registration.kind](plugin)
        except AssertionError as error:
            raise PluginContractError(
                f"The {registration.kind} {registration.name!r} breaks its contract: {error}."
            ) from None
        echo(f"The {registration.kind} {registration.name!r} keeps its contract. {report}")


def _kinds(kind: str | None) -> list[str]:
    """Return the kinds to check."""
    if kind is not None and kind not in _SUITES:
        raise ConfigurationError(f"There are no contract tests for a {kind}. There are for: {', '.join(_SUITES)}.")
    return list(_SUITES) if kind is None else [kind]


def _none(kind: str | None, name: str) -> str:
    """Return the message that there is no such plugin."""
    *most, last = _kinds(kind)
    return f"There is no {', '.join(most)} or {last} {name!r}." if most else f"There is no {last} {name!r}."


def _check_there(name: str, kind: str | None, options: dict[str, str]) -> None:
    """Run the contract tests on a server, of every kind that has a plugin of this name."""
    if name.endswith(".py"):
        raise UsageError(f"{name} is a file of this machine. Check it here: unset SEGADMIN_SERVER, leave out --server.")
    with connected(get_settings()) as client:
        items = [each for each in client.list_plugins().items if each.kind in _kinds(kind)]
        kinds = [each.kind for each in items if each.name == name]
        if not kinds:
            raise PluginNotFound(f"{_none(kind, name)}{did_you_mean(name, [each.name for each in items])}")
        for of_kind in kinds:
            check = client.check_plugin(of_kind, name, options=options)
            if not check.passed:
                raise PluginContractError(check.report.removeprefix("Error: "))
            echo(check.report)


def _check_textualizer(textualizer: Textualizer) -> str:
    """Check the contract; return the text of the sample events."""
    from segadmin.testing.textualizers import check_textualizer, sample_text

    check_textualizer(textualizer)
    phrases = sample_text(textualizer, get_settings().language)
    return "\n".join(["A sample user reads:", *(f"  {phrase}" for phrase in phrases)])


def _check_backbone(backbone: Backbone) -> str:
    """Check the contract in a temporary home; return the report of the fit."""
    from tempfile import TemporaryDirectory

    from segadmin.testing.backbones import check_backbone

    with TemporaryDirectory() as folder:
        report = check_backbone(backbone, Settings(home=Path(folder) / "home"), Path(folder) / "work")
    return f"A fit on sample users reports: {report}"


def _check_engine(engine: Engine) -> str:
    """Check the contract on a small model; return what was compared."""
    from segadmin.testing.engines import check_engine

    if not all(map(find_spec, ("torch", "transformers"))):
        raise ConfigurationError("Engines are compared with transformers. Run: pip install 'segadmin[worker]'")
    report = check_engine(engine)
    if not report:
        return "It can compute nothing on the CPU of this machine: precisions() returns none."
    lines = (
        f"  {precision}: " + (result if isinstance(result, str) else f"logits within {result:.2g} of transformers")
        for precision, result in report.items()
    )
    return "\n".join(["A small BERT on the CPU:", *lines])


def _check_modality(modality: Modality) -> str:
    """Check the contract; return the words of a sample item."""
    from segadmin.testing.modalities import check_modality

    return f"A sample item has the words: {' '.join(check_modality(modality))}"


#: Kind of plugin → its contract tests.
_SUITES: dict[str, Callable[[Any], str]] = {
    "textualizer": _check_textualizer,
    "backbone": _check_backbone,
    "engine": _check_engine,
    "modality": _check_modality,
}


def _shown(default: Any) -> str:
    """Return a default as it is typed on the command line."""
    if isinstance(default, list | tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else "" if default in (None, {}) else str(default)
