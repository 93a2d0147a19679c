"""``segadmin data interrupted``: interrupted imports, of which nothing is in the lake before they are repeated."""

from __future__ import annotations

from typing import Annotated

import typer

from segadmin.counts import counted
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, show_json, table


def interrupted(
    drop: Annotated[
        str | None, typer.Option(metavar="IMPORT", help="Remove what this import read, for good: the number listed.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List imports that were interrupted or failed, and what they read and nobody can use yet.

    The same import command goes on from there. What a queue gave (the inbox, a stream) is nowhere else; a file is read
    again.
    """
    from segadmin.events.interrupted import drop_interrupted, find_interrupted, list_interrupted

    settings = get_settings()
    if drop is not None:
        find_interrupted(settings, drop)
        if not yes:
            typer.confirm(f"Remove what import {drop} read for good?", abort=True)
        dropped = drop_interrupted(settings, drop)
        if as_json:
            show_json(dropped)
        else:
            typer.echo(f"Removed {counted(sum(one['rows'] for one in dropped), 'row')} that import {drop} had read.")
        return
    found = [one.facts() for one in list_interrupted(settings)]
    if as_json:
        show_json(found)
        return
    table(
        "",
        ["import", "table", "file", ">rows", ">MiB", "from a queue", "error"],
        [
            (
                *(one[name] for name in ("import", "table", "file")),
                f"{one['rows']:,}",
                f"{one['bytes'] / 2**20:,.1f}",
                "" if one["can_be_read_again"] else "yes",
                one["error"] or "",
            )
            for one in found
        ],
        empty="No import was interrupted.",
    )
    commands = [one["command"] for one in found if one["command"]]
    if commands:
        typer.echo("To go on, repeat the command where it was given and with its options:")
    for command in commands:
        typer.echo(f"  {command}")
