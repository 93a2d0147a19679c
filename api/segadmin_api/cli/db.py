"""``segadmin db``: the SQL database, and which store it belongs to."""

from __future__ import annotations

import typer

from segadmin.counts import counted
from segadmin.errors import ConfigurationError
from segadmin.settings import get_settings
from segadmin.storage import database
from segadmin.storage.integrity import clear_damage
from segadmin.storage.sealing import seal_stored
from segadmin_api.cli.output import JsonOption, echo, group, show_json

app = group("The SQL database: status, check, upgrade, adopt.")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show the schema revision of the database and the one that this version needs."""
    settings = get_settings()
    revision = database.revision(settings)
    facts = {"url": database.shown(settings), "revision": revision, "needed": database.HEAD}
    if as_json:
        show_json(facts | {"current": revision == database.HEAD})
    else:
        state = "up to date" if revision == database.HEAD else "out of date; run: segadmin db upgrade"
        if database.is_newer(revision):
            state = "made by a newer segadmin; install it: pip install --upgrade segadmin"
        echo(f"{facts['url']}\nrevision {revision or 'none'}, needed {database.HEAD}: {state}")
    if revision != database.HEAD:
        raise typer.Exit(1)


@app.command()
def check(as_json: JsonOption = False) -> None:
    """Check the database for damage; if it was repaired, it is used again.

    After damage was detected, no command and no service uses the file until it is restored or passes this check.
    """
    settings = get_settings()
    clear_damage(settings)
    if as_json:
        show_json({"url": database.shown(settings), "damaged": False})
    else:
        echo(f"{database.shown(settings)} is in order.")


@app.command()
def upgrade() -> None:
    """Upgrade the schema to the revision that this version needs; no data is lost.

    Passwords in jobs and schedules of versions that stored them in plain are encrypted.
    """
    settings = get_settings()
    database.upgrade(settings)
    echo(f"{database.shown(settings)} is at revision {database.HEAD}.")
    try:
        if sealed := seal_stored(settings):
            echo(f"Encrypted the passwords of {counted(sealed, 'job or schedule', 'jobs and schedules')}.")
    except ConfigurationError as error:
        echo(f"Warning: passwords of stored jobs are not encrypted. {error}", err=True)


@app.command()
def adopt() -> None:
    """Connect the database to the store in SEGADMIN_STORE, after one of the two was restored or lost.

    With a new database, the events, items, labels and users of the store are kept. Snapshots, quarantine and job
    outputs are removed, because only the lost database describes them. If it has a backup, restore that instead.

    If the store is an older backup than the database, imports that it lacks are marked as failed, and their files
    can be imported again.
    """
    from segadmin.events.adopt import adopt_store

    settings = get_settings()
    store = adopt_store(settings)
    echo(f"{database.shown(settings)} uses the store in {settings.store_path}: {counted(store.buckets, 'bucket')}.")
