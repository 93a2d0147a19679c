"""``segadmin data mappings``: the mappings that were saved under a name, and those that come with segadmin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segadmin.events.shipped import shipped_mappings
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, confirm, echo, show_json, table
from segadmin_api.formatting import ago

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="List the mappings that were saved, and those that come with segadmin.",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from the list.")]


@app.callback(invoke_without_command=True)
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the mappings that were saved, and those that come with segadmin, for common export layouts."""
    from segadmin.events.saved_mappings import list_mappings

    if context.invoked_subcommand is not None:
        return
    saved, shipped = list_mappings(get_settings()), shipped_mappings()
    if as_json:
        ours = [{"name": row.name, "title": "saved", "path": None, "updated_at": row.updated_at} for row in saved]
        show_json(ours + [{"name": each.name, "title": each.title, "path": str(each.path)} for each in shipped])
        return
    rows = [(row.name, f"saved {ago(row.updated_at)}") for row in saved]
    table("", ["name", "for"], rows + [(mapping.name, mapping.title) for mapping in shipped])
    echo("Use one: segadmin data import events FILE --mapping NAME")
    echo("See which one fits a file: segadmin data preview FILE --guess")


@app.command()
def show(name: Name) -> None:
    """Print a mapping, as a template for your own."""
    from segadmin.events.saved_mappings import named_mapping

    echo(named_mapping(get_settings(), name), nl=False)


@app.command()
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name, without dots and slashes.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The mapping.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace a saved mapping of this name.")] = False,
) -> None:
    """Save a mapping under a name, also for the web pages."""
    from segadmin.events.mapping import Mapping
    from segadmin.events.saved_mappings import save_mapping

    row = save_mapping(get_settings(), name, Mapping.read(file), replace=replace)
    echo(f"The mapping is saved as {row.name}. Use it: segadmin data import events FILE --mapping {row.name}")


@app.command()
def remove(
    name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Remove a saved mapping; imports keep what they were made with."""
    from segadmin.events.saved_mappings import remove_mapping

    if not yes:
        confirm(f"Remove the mapping {name!r}?")
    remove_mapping(get_settings(), name)
    echo(f"The mapping {name} is removed.")
