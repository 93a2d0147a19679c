"""``segadmin plugins``: what there is to choose from, and help for authors."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from segadmin.contracts.plugins import KINDS, load_plugins
from segadmin.errors import ConfigurationError, PluginContractError, did_you_mean
from segadmin.settings import Language, Settings, get_settings
from segadmin_api.cli.output import JsonOption, group, parse_options, show_json, table

if TYPE_CHECKING:
    from segadmin.contracts.backbone import Backbone
    from segadmin.contracts.textualizer import Textualizer

app = group("Textualizers, backbones and other plugins.")


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Option(help=f"Only one of: {', '.join(KINDS)}.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List what is registered, and the plugins that could not be loaded."""
    plugins = load_plugins(get_settings())
    if kind is not None and kind not in KINDS:
        raise ConfigurationError(f"There is no kind of plugin {kind!r}.{did_you_mean(kind, KINDS)}")
    found = [
        {"kind": one.kind, "name": one.name, "from": one.distribution}
        for of_kind in KINDS
        if kind in {None, of_kind}
        for _, one in sorted(plugins.registered[of_kind].items())
    ]
    if as_json:
        show_json({"plugins": found, "broken": [str(error) for error in plugins.broken.values()]})
        return
    table("", ["kind", "name", "from"], [list(one.values()) for one in found])
    for error in plugins.broken.values():
        typer.echo(str(error), err=True)


@app.command()
def show(
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(help="Its name.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a plugin is for, and its options with their defaults."""
    plugins = load_plugins(get_settings())
    if kind not in KINDS:
        raise ConfigurationError(f"There is no kind of plugin {kind!r}.{did_you_mean(kind, KINDS)}")
    found = plugins.find(kind, name)
    made = found.load()
    options = [
        {"option": field.name, "type": str(field.type), "default": _default(field)}
        for field in (dataclasses.fields(made) if dataclasses.is_dataclass(made) else ())
    ]
    doc = inspect.getdoc(made) or ""
    templates = getattr(made, "templates", {}) if kind == "textualizer" else {}
    if as_json:
        told = {"kind": kind, "name": name, "from": found.distribution, "doc": doc, "options": options}
        show_json({**told, "templates": templates} if kind == "textualizer" else told)
        return
    typer.echo(f"{kind} {name}, from {found.distribution}\n\n{doc}\n")
    table("", ["option", "type", "default"], [list(one.values()) for one in options], empty="It takes no options.")
    if templates:
        typer.echo("\nA file given as --templates can say it otherwise; a list's later ways are for --augment only:\n")
        for language in get_args(Language):
            typer.echo(f"[{language}.{name}]")
            for template, said in templates.items():
                typer.echo(f"{template} = {json.dumps(said[language], ensure_ascii=False)}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The textualizer's name, such as `emoji`.")],
    folder: Annotated[Path, typer.Option(help="Where to put the package.")] = Path(),
) -> None:
    """Write a package with a textualizer and its test, ready to be installed."""
    from segadmin_api.cli.scaffold import write_package

    made = write_package(name, folder)
    typer.echo(f"Wrote {made}. Next:")
    typer.echo(f"  pip install -e {made} && segadmin plugins check {name}")


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A textualizer or backbone; or a Python file: all of its.")],
    option: Annotated[list[str] | None, typer.Option(help="key=value of what is checked, may be repeated.")] = None,
) -> None:
    """Run the contract suite over a textualizer or a backbone."""
    settings, path = get_settings(), Path(name)
    if path.suffix == ".py" and path.resolve() not in settings.plugin_files:
        settings = settings.model_copy(update={"plugin_files": (*settings.plugin_files, path.resolve())})
    plugins = load_plugins(settings)
    if (broken := plugins.broken.get(str(path.resolve()), plugins.broken.get(name))) is not None:
        raise broken
    offers = [one for kind in _SUITES for one in plugins.registered[kind].values()]
    found = [one for one in offers if one.name == name or (path.suffix == ".py" and one.distribution == path.name)]
    if not found and path.suffix == ".py":
        raise ConfigurationError(f"{name} registers no {' or '.join(_SUITES)}. Is its hook marked @segadmin.hookimpl?")
    for one in found or [plugins.find("textualizer", name)]:
        made = plugins.make(one.kind, one.name, parse_options(option or [], "--option"))
        try:
            said = _SUITES[one.kind](made)
        except AssertionError as error:
            raise PluginContractError(f"The {one.kind} {one.name!r} breaks its contract: {error}.") from None
        typer.echo(f"The {one.kind} {one.name!r} keeps its contract. {said}")


def _check_textualizer(textualizer: Textualizer) -> str:
    """Hold it to its contract; return what the sample events read as."""
    from segadmin.testing.textualizers import check_textualizer, sample_text

    check_textualizer(textualizer)
    phrases = sample_text(textualizer, get_settings().language)
    return "\n".join(["A sample user reads:", *(f"  {phrase}" for phrase in phrases)])


def _check_backbone(backbone: Backbone) -> str:
    """Hold it to its contract, in a home of its own; return what it reports of the fit."""
    from tempfile import TemporaryDirectory

    from segadmin.testing.backbones import check_backbone

    with TemporaryDirectory() as folder:
        report = check_backbone(backbone, Settings(home=Path(folder) / "home"), Path(folder) / "work")
    return f"A fit on sample users reports: {report}"


#: What can be checked, and how.
_SUITES: dict[str, Callable[[Any], str]] = {"textualizer": _check_textualizer, "backbone": _check_backbone}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "(needed)"
