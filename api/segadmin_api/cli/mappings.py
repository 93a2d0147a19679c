"""``segadmin data mappings``: the mapping files that come with segadmin."""

from __future__ import annotations

from typing import Annotated

import typer

from segadmin.events.shipped import shipped_mapping, shipped_mappings
from segadmin_api.cli.output import JsonOption, echo, show_json, table

app = typer.Typer(
    add_completion=False, rich_markup_mode="markdown", help="List the mapping files that come with segadmin."
)


@app.callback(invoke_without_command=True)
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the mapping files that come with segadmin, for common export layouts."""
    if context.invoked_subcommand is not None:
        return
    mappings = shipped_mappings()
    if as_json:
        show_json([{"name": mapping.name, "title": mapping.title, "path": str(mapping.path)} for mapping in mappings])
        return
    table("", ["name", "for"], [(mapping.name, mapping.title) for mapping in mappings])
    echo("Use one: segadmin data import events FILE --mapping NAME")
    echo("See which one fits a file: segadmin data preview FILE --guess")


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A name from the list.")]) -> None:
    """Print a mapping file, as a template for your own."""
    echo(shipped_mapping(name).text, nl=False)
