"""``segadmin audit``: who did what with users' data."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from segadmin.settings import get_settings
from segadmin.storage.audit import entries
from segadmin_api.cli.output import JsonOption, group, show_json, table
from segadmin_api.formatting import ago

app = group("Who looked at users, exported or erased them.")


@app.callback()
def _several() -> None:
    """Keep `list` a subcommand though it is the only one."""


@app.command("list")
def list_(
    action: Annotated[
        str | None, typer.Option(help="Only this, such as data.forget, or data for all of those.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the newest entries of the audit log."""
    found = entries(get_settings(), action, limit)
    if as_json:
        show_json([one.model_dump(mode="json") for one in found])
        return
    rows = [
        (ago(one.created_at), one.actor, one.action, one.subject, json.dumps(one.details, ensure_ascii=False))
        for one in found
    ]
    table("", ["when", "who", "did", "to", "details"], rows, empty="Nothing is in the audit log yet.")
