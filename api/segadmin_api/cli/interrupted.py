"""``segadmin data interrupted``: interrupted imports, of which no rows are in the lake until they are repeated."""

from __future__ import annotations

from typing import Annotated

import typer

from segadmin.counts import counted
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, confirm, echo, show_json, table


def interrupted(
    drop: Annotated[
        str | None, typer.Option(metavar="IMPORT", help="Permanently remove the rows of the import with this number.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List imports that were interrupted or failed, with their rows, which are not in the lake yet.

    Repeating the import command continues the import. Rows that came from a queue (the inbox, a stream) exist only
    here; a file is read again.
    """
    from segadmin.events.interrupted import drop_interrupted, find_interrupted, list_interrupted

    settings = get_settings()
    if drop is not None:
        find_interrupted(settings, drop)
        if not yes:
            confirm(f"Permanently remove the rows of import {drop}?")
        dropped = drop_interrupted(settings, drop)
        if as_json:
            show_json(dropped)
        else:
            echo(f"Removed {counted(sum(facts['rows'] for facts in dropped), 'row')} of import {drop}.")
        return
    imports = [spool.facts() for spool in list_interrupted(settings)]
    if as_json:
        show_json(imports)
        return
    table(
        "",
        ["import", "table", "file", ">rows", ">MiB", "from a queue", "error"],
        [
            (
                *(facts[name] for name in ("import", "table", "file")),
                f"{facts['rows']:,}",
                f"{facts['bytes'] / 2**20:,.1f}",
                "" if facts["can_be_read_again"] else "yes",
                facts["error"] or "",
            )
            for facts in imports
        ],
        empty="No import was interrupted.",
    )
    commands = [facts["command"] for facts in imports if facts["command"]]
    if commands:
        echo("To continue, repeat the command in the same folder and with the same options:")
    for command in commands:
        echo(f"  {command}")
