"""``segadmin keys``: who may look at the web pages and use the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from segadmin.settings import get_settings
from segadmin.storage import api_keys
from segadmin.storage.records import Scope
from segadmin_api.cli.output import JsonOption, group, show_json, table
from segadmin_api.formatting import ago

app = group("Keys of the web pages and the HTTP API.")

Name = Annotated[str, typer.Argument(help="What the key is called: who uses it.")]


@app.command()
def create(
    name: Name,
    pages: Annotated[
        bool, typer.Option("--pages", help="For a browser: it shows jobs and models, and sends no events.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    what = Scope.PAGES if pages else Scope.EVENTS
    key = api_keys.create(get_settings(), name, what)
    if as_json:
        show_json({"name": name, "opens": what, "key": key})
        return
    typer.echo(key)
    use = "the password that the browser asks for, with any user" if pages else "Authorization: Bearer KEY"
    typer.echo(f"Keep it: it cannot be shown again. Use it as: {use}", err=True)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the keys."""
    found = api_keys.keys(get_settings())
    if as_json:
        show_json([one.model_dump(mode="json", exclude={"sha256"}) for one in found])
        return
    rows = [
        (one.name, one.opens, ago(one.created_at), f"{one.last_used:%Y-%m-%d}" if one.last_used else "never")
        for one in found
    ]
    table(
        "", ["name", "opens", "made", "last used"], rows, empty="There are no keys. Make one: segadmin keys create NAME"
    )


@app.command()
def revoke(name: Name) -> None:
    """Let a key open nothing any more."""
    api_keys.revoke(get_settings(), name)
    typer.echo(f"The key {name!r} opens nothing any more.")
