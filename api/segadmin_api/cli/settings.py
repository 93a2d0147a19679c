"""``segadmin settings``: the settings that commands use here, and where each comes from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from segadmin_api.cli.output import JsonOption, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_records
from segadmin_api.effective_settings import EffectiveSetting, Source, effective_settings


def settings(
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not the default.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the value of every setting and where it comes from; secrets are masked. With --server: of that."""
    every = answer(effective_settings, lambda client: as_records(EffectiveSetting, client.list_settings().items))
    rows = [row for row in every if not changed or row.source != Source.DEFAULT]
    if as_json:
        show_json([asdict(row) for row in rows])
        return
    table(
        "",
        ["variable", "value", "from"],
        [(row.variable, row.value, row.source) for row in rows],
        empty="All settings have their defaults.",
    )
