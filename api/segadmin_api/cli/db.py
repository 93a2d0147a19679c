"""``segadmin db``: the SQL database."""

from __future__ import annotations

import typer

from segadmin import database
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, group, show_json

app = group("The SQL database: status, upgrade.")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show which schema the database has and which one this version needs."""
    settings = get_settings()
    found = database.revision(settings)
    facts = {"url": database.shown(settings), "revision": found, "needed": database.HEAD}
    if as_json:
        show_json(facts | {"current": found == database.HEAD})
    else:
        state = "up to date" if found == database.HEAD else "out of date; run: segadmin db upgrade"
        typer.echo(f"{facts['url']}\nrevision {found or 'none'}, needed {database.HEAD}: {state}")
    if found != database.HEAD:
        raise typer.Exit(1)


@app.command()
def upgrade() -> None:
    """Bring the schema to the one this version needs; nothing is lost."""
    settings = get_settings()
    database.upgrade(settings)
    typer.echo(f"{database.shown(settings)} is at revision {database.HEAD}.")
