"""``segadmin keys``: keys of the web pages and the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from segadmin.settings import get_settings
from segadmin.storage import api_keys
from segadmin.storage.records import Scope
from segadmin_api.cli.output import JsonOption, echo, group, show_json, table
from segadmin_api.formatting import ago

app = group("Keys of the web pages and the HTTP API.")

Name = Annotated[str, typer.Argument(help="The name of the key, such as its user.")]


@app.command()
def create(
    name: Name,
    pages: Annotated[
        bool, typer.Option("--pages", help="For browsers: allows viewing jobs and models, but not sending events.")
    ] = False,
    segments: Annotated[
        bool, typer.Option("--segments", help="For services: allows scoring users and looking up their segments.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it; it cannot be shown again. Without an option it allows sending events."""
    if pages and segments:
        raise typer.BadParameter("A key opens one of them. Leave one out.", param_hint="--pages and --segments")
    scope = Scope.PAGES if pages else Scope.SEGMENTS if segments else Scope.EVENTS
    key = api_keys.create(get_settings(), name, scope)
    if as_json:
        show_json({"name": name, "opens": scope, "key": key})
        return
    echo(key)
    usage = "the password that the browser asks for, with any user" if pages else "Authorization: Bearer KEY"
    echo(f"Keep it: it cannot be shown again. Use it as: {usage}", err=True)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the keys."""
    keys = api_keys.keys(get_settings())
    if as_json:
        show_json([key.model_dump(mode="json", exclude={"sha256"}) for key in keys])
        return
    rows = [
        (key.name, key.opens, ago(key.created_at), f"{key.last_used:%Y-%m-%d}" if key.last_used else "never")
        for key in keys
    ]
    table(
        "",
        ["name", "opens", "made", "last used"],
        rows,
        empty="There are no keys. Create one: segadmin keys create NAME",
    )


@app.command()
def revoke(name: Name) -> None:
    """Revoke a key; it no longer gives access."""
    api_keys.revoke(get_settings(), name)
    echo(f"The key {name!r} is revoked.")
