"""``segadmin data mappings``: the mappings that were saved under a name, and those that come with segadmin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.errors import MappingNotFound, did_you_mean
from segadmin.events.shipped import shipped_mappings
from segadmin.settings import Settings
from segadmin_api.cli.output import JsonOption, confirm, echo, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.formatting import ago

if TYPE_CHECKING:
    from segadmin_api.client import Client

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="markdown",
    help="List the mappings that were saved, and those that come with segadmin.",
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from the list.")]


@app.callback(invoke_without_command=True)
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the mappings that were saved, and those that come with segadmin, for common export layouts."""
    if context.invoked_subcommand is not None:
        return
    facts = answer(_facts, _facts_of_server)
    if as_json:
        show_json(facts)
        return
    rows = [
        (each["name"], f"saved {ago(when)}" if (when := each.get("updated_at")) else each["title"]) for each in facts
    ]
    table("", ["name", "for"], rows)
    echo("Use one: segadmin data import events FILE --mapping NAME")
    echo("See which one fits a file: segadmin data preview FILE --guess")


def _facts(settings: Settings) -> list[dict[str, Any]]:
    from segadmin.events.saved_mappings import list_mappings

    rows = list_mappings(settings)
    saved = [{"name": row.name, "title": "saved", "path": None, "updated_at": row.updated_at} for row in rows]
    return saved + [{"name": each.name, "title": each.title, "path": str(each.path)} for each in shipped_mappings()]


def _facts_of_server(client: Client) -> list[dict[str, Any]]:
    """Return the same of a server, whose files have no path here."""
    items = client.list_mappings().items
    more = [{} if each.shipped else {"updated_at": each.updated_at} for each in items]
    return [
        {"name": each.name, "title": each.title, "path": None, **facts} for each, facts in zip(items, more, strict=True)
    ]


def _text_of(client: Client, name: str) -> str:
    """Return the text of a mapping of a server."""
    texts = {each.name: each.text for each in client.list_mappings().items}
    plain = name.removeprefix("shipped:")
    if plain not in texts:
        raise MappingNotFound(f"There is no mapping {name!r}.{did_you_mean(name, texts)}")
    return texts[plain]


@app.command()
def show(name: Name) -> None:
    """Print a mapping, as a template for your own."""
    from segadmin.events.saved_mappings import named_mapping

    echo(answer(lambda settings: named_mapping(settings, name), lambda client: _text_of(client, name)), nl=False)


@app.command()
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name, without dots and slashes.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The mapping.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace a saved mapping of this name.")] = False,
) -> None:
    """Save a mapping under a name, also for the web pages."""
    from segadmin.events.mapping import Mapping
    from segadmin.events.saved_mappings import mapping_text, save_mapping

    mapping = Mapping.read(file)
    saved = answer(
        lambda settings: save_mapping(settings, name, mapping, replace=replace).name,
        lambda client: client.save_mapping(name, mapping_text(mapping), replace=replace).name,
    )
    echo(f"The mapping is saved as {saved}. Use it: segadmin data import events FILE --mapping {saved}")


@app.command()
def remove(
    name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Remove a saved mapping; imports keep what they were made with."""
    from segadmin.events.saved_mappings import remove_mapping

    if not yes:
        confirm(f"Remove the mapping {name!r}?")
    answer(lambda settings: remove_mapping(settings, name), lambda client: client.remove_mapping(name))
    echo(f"The mapping {name} is removed.")
