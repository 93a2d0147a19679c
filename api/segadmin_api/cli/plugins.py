"""``segadmin plugins``: what there is to choose from, and help for authors."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from segadmin.errors import ConfigurationError, did_you_mean
from segadmin.plugins import KINDS, Plugins, load_plugins
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, group, show_json, table

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
        show_json({"plugins": found, "broken": [str(error) for error in plugins.broken]})
        return
    table("", ["kind", "name", "from"], [list(one.values()) for one in found])
    for error in plugins.broken:
        typer.echo(f"Not loaded: {error}", err=True)


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
    if as_json:
        show_json({"kind": kind, "name": name, "from": found.distribution, "doc": doc, "options": options})
        return
    typer.echo(f"{kind} {name}, from {found.distribution}\n\n{doc}\n")
    table("", ["option", "type", "default"], [list(one.values()) for one in options], empty="It takes no options.")


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
    name: Annotated[str, typer.Argument(help="A registered textualizer; with --plugin-file, one of that file.")],
) -> None:
    """Run the contract suite over a textualizer."""
    from segadmin.testing.textualizers import check_textualizer

    plugins = load_plugins(get_settings())
    try:
        check_textualizer(plugins.make("textualizer", name))
    except AssertionError as error:
        raise ConfigurationError(f"The textualizer {name!r} breaks its contract: {error}") from None
    _try_out(plugins, name)


def _try_out(plugins: Plugins, name: str) -> None:
    """Show what the sample events read as."""
    from datetime import timedelta

    from segadmin.testing.textualizers import AS_OF, sample_events
    from segadmin.text.textualizer import TextContext

    textualizer = plugins.make("textualizer", name)
    context = TextContext(AS_OF - timedelta(days=112), AS_OF, get_settings().language)
    phrases = textualizer.phrases(sample_events(users=1).lazy(), context).sort("position").collect()["phrase"]
    typer.echo(f"The textualizer {name!r} keeps its contract. A sample user reads:")
    for phrase in phrases:
        typer.echo(f"  {phrase}")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "(needed)"
