"""``segadmin audit``: who accessed or changed user data."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from segadmin.storage.audit import entries
from segadmin.storage.records import Audit
from segadmin_api.cli.output import JsonOption, group, nothing, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_records
from segadmin_api.formatting import ago

_MAX_LIMIT = 1_000_000
app = group("The audit log: who viewed, exported or erased users.")


@app.callback()
def _several() -> None:
    """Make `list` a subcommand although it is the only one."""


@app.command("list")
def list_(
    action: Annotated[
        str | None, typer.Option(help="Only this action, such as data.forget, or data for all data actions.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option(help="Only what this one did: a user of the machine, or a key as 'key ann'.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MAX_LIMIT, help="Maximum number of entries, newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the newest entries of the audit log."""
    log = answer(
        lambda settings: entries(settings, action, limit, actor=actor),
        lambda client: as_records(Audit, client.items(client.list_audit, action=action, actor=actor), limit),
    )
    if as_json:
        show_json([entry.model_dump(mode="json") for entry in log])
        return
    rows = [
        (ago(entry.created_at), entry.actor, entry.action, entry.subject, json.dumps(entry.details, ensure_ascii=False))
        for entry in log
    ]
    empty = nothing("The audit log is empty.", action=action, actor=actor)
    table("", ["when", "who", "did", "to", "details"], rows, empty=empty)
