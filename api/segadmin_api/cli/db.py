"""``segadmin db``: the SQL database, and which store it belongs to."""

from __future__ import annotations

import typer

from segadmin.settings import get_settings
from segadmin.storage import database
from segadmin_api.cli.output import JsonOption, group, show_json

app = group("The SQL database: status, upgrade, adopt.")


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


@app.command()
def adopt() -> None:
    """Let the database know the store in SEGADMIN_STORE, after one of the two was restored or lost.

    A new database keeps the store's events, items, labels and users; snapshots, quarantine and what jobs left are
    removed, since only the lost database could explain them. Rather restore that database, where there is a backup.

    Where the store is an older backup than the database, imports that it lacks are marked as failed, and their files
    can be imported again.
    """
    from segadmin.events.adopt import adopt_store

    settings = get_settings()
    store = adopt_store(settings)
    typer.echo(f"{database.shown(settings)} knows the store in {settings.store_path}: {store.buckets} buckets.")
