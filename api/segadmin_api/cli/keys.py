"""``segadmin keys``: keys of the web pages and the HTTP API."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from segadmin.storage import api_keys
from segadmin.storage.records import ApiKey, Scope
from segadmin_api.cli.output import JsonOption, echo, group, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_records
from segadmin_api.formatting import ago

app = group("Keys of the web pages and the HTTP API.")

Name = Annotated[str, typer.Argument(help="The name of the key, such as its user.")]
Role = Literal["viewer", "analyst", "operator", "admin"]


@app.command()
def create(
    name: Name,
    role: Annotated[
        Role | None,
        typer.Option(
            help="For people and programs: viewer reads, analyst also reads users' ids and texts, operator also runs "
            "jobs and promotes models, admin may do everything."
        ),
    ] = None,
    pages: Annotated[
        bool, typer.Option("--pages", help="For browsers: allows viewing jobs and models, but not sending events.")
    ] = False,
    segments: Annotated[
        bool, typer.Option("--segments", help="For services: allows scoring users and looking up their segments.")
    ] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="90d", help="Refuse it after so many hours, days or weeks: 12h, 90d or 52w.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it; it cannot be shown again. Without an option it allows sending events."""
    if pages + segments + (role is not None) > 1:
        raise typer.BadParameter("A key opens one of them. Leave the others out.", param_hint="--role, --pages, …")
    scope = Scope(role) if role else Scope.PAGES if pages else Scope.SEGMENTS if segments else Scope.EVENTS
    ends = None if expires is None else api_keys.expiry(expires)
    key = answer(
        lambda settings: api_keys.create(settings, name, scope, expires_at=ends),
        lambda client: client.create_key(name, scope, expires_at=ends).key,
    )
    if as_json:
        show_json({"name": name, "opens": scope, "expires_at": ends and ends.isoformat(), "key": key})
        return
    echo(key)
    usage = "the password that the browser asks for, with any user" if pages else "Authorization: Bearer KEY"
    echo(f"Keep it: it cannot be shown again. Use it as: {usage}", err=True)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the keys."""
    keys = answer(api_keys.keys, lambda client: as_records(ApiKey, client.list_keys().items))
    if as_json:
        show_json([key.model_dump(mode="json", exclude={"sha256"}) for key in keys])
        return
    rows = [
        (
            key.name,
            key.opens,
            ago(key.created_at),
            f"{key.last_used:%Y-%m-%d}" if key.last_used else "never",
            _end(key),
        )
        for key in keys
    ]
    table(
        "",
        ["name", "opens", "made", "last used", "expires"],
        rows,
        empty="There are no keys. Create one: segadmin keys create NAME",
    )


@app.command()
def revoke(name: Name) -> None:
    """Revoke a key; it no longer gives access."""
    answer(lambda settings: api_keys.revoke(settings, name), lambda client: client.revoke_key(name))
    echo(f"The key {name!r} is revoked.")


def _end(key: ApiKey) -> str:
    if key.expires_at is None:
        return "never"
    return f"{key.expires_at:%Y-%m-%d %H:%M}" + (" (expired)" if key.has_expired else "")
