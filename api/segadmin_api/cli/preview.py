"""``segadmin data preview``: how rows would be imported, or with ``--guess`` a mapping to import them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from segadmin.counts import counted
from segadmin.settings import get_settings
from segadmin.urls import MASK, mask_url
from segadmin_api.cli import imports
from segadmin_api.cli.command_line import join_words
from segadmin_api.cli.import_options import (
    Decimal,
    Extra,
    Map,
    MappingFile,
    Null,
    Query,
    Set,
    SourceName,
    SourceOption,
    Thousands,
    Times,
    Timezone,
    Vector,
    mapping_of,
    source_options,
)
from segadmin_api.cli.import_report import note_several, report_changes
from segadmin_api.cli.output import JsonOption, echo, show_json, table
from segadmin_api.cli.proposals import NextCommands, save_mapping, show_proposal
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_import import preview_there

if TYPE_CHECKING:
    import click

    from segadmin.events.guess import Proposal
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.preview import Preview

#: The options that --guess replaces.
_MAPPING_OPTIONS = ("mapping", "map_", "set_", "extra", "vector", "timezone", "times", "decimal", "thousands", "null")


def preview(
    context: typer.Context,
    where: Annotated[str, typer.Argument(metavar="WHERE", help="A file, or the URL of a database or a table.")],
    table_: Annotated[str, typer.Option("--table", help="The table: events, items or labels.")] = "events",
    mapping: MappingFile = None,
    map_: Map = None,
    set_: Set = None,
    extra: Extra = None,
    vector: Vector = None,
    source: SourceName = None,
    option: SourceOption = None,
    query: Query = None,
    timezone: Timezone = None,
    times: Times = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    null: Null = None,
    rows: Annotated[int, typer.Option(min=1, help="Number of rows to read from the start.")] = 10_000,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of examples per problem.")] = 5,
    guess: Annotated[bool, typer.Option("--guess", help="Propose a mapping for events; it is only printed.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="With --guess: write the proposed mapping to this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how rows would be imported, and their problems; writes nothing."""
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.preview import preview as preview_rows

    if guess:
        if conflicting := [name for name in _MAPPING_OPTIONS if context.params[name]]:
            raise typer.BadParameter(
                f"It proposes the mapping. Leave out --{conflicting[0].rstrip('_')}.", param_hint="--guess"
            )
        _propose(context, ImportRequest(table_, where, source=source, options=source_options(context)))
        return
    if save is not None:
        raise typer.BadParameter("Only --guess has a mapping to save.", param_hint="--save")
    parsed_mapping = mapping_of(context)
    request = ImportRequest(table_, where, parsed_mapping, source=source, options=source_options(context))
    result = answer(
        lambda settings: preview_rows(settings, request, rows), lambda client: preview_there(client, request, rows)
    )
    if as_json:
        show_json(result.model_dump(mode="json"))
        return
    _show(request, result, limit)
    echo(f"Nothing was written. To import: {_import_command(context, table_, where)}")


def _show(request: ImportRequest, result: Preview, limit: int) -> None:
    note = note_several(result.source_rows, result.rows, request.table)
    echo(
        f"{request.name}: {result.usable:,} of the first {counted(result.rows, 'row')} can be used as "
        f"{request.table}.{note}"
    )
    fields = [(field.field, field.column, field.filled, " · ".join(field.examples)) for field in result.fields]
    table("how it is read", ["field", "from", ">filled", "examples"], [(a, b, f"{c:.0%}", d) for a, b, c, d in fields])
    report_changes(result.changes)
    if result.ignored:
        echo(f"Ignored, as the mapping says: {counted(result.ignored, 'row')}.")
    for reason, count in result.reasons.items():
        examples = [problem for problem in result.problems if problem.reason == reason][:limit]
        rows = [(problem.line, problem.column or "", problem.value or "", problem.row) for problem in examples]
        table(f"{reason}: {counted(count, 'row')}", [">line", "column", "value", "row"], rows)
    if result.spend is not None:
        echo(
            f"Prices of whole lines: {result.spend.total:,.2f} in {counted(result.spend.rows, 'row')}, "
            f"such as {' · '.join(result.spend.examples)}"
        )
    for warning in result.warnings:
        echo(f"Note: {warning}")


def _propose(context: typer.Context, request: ImportRequest) -> None:
    """Print a proposed mapping for a file and the next commands; save the mapping with ``--save``."""
    from segadmin.events.guess import propose

    params = context.params
    proposal = propose(get_settings(), request, params["rows"])
    if params["save"] is not None:
        save_mapping(proposal.mapping, params["save"])
    is_file = params["save"] is not None or not proposal.as_shipped
    params["mapping"] = params["save"] or ("mapping.toml" if is_file else proposal.layout)
    commands, source = [_import_command(context, "events", request.where)], _source_arguments(context)
    if is_file and params["save"] is None:
        preview_arguments = [mask_url(request.where), *source, "--guess", "--save", "mapping.toml"]
        commands.insert(0, join_words(["segadmin", "data", "preview", *preview_arguments]))
    show_proposal(
        proposal,
        request.name,
        NextCommands(commands, _items_command(proposal, request, source)),
        lambda preview: _show(request, preview, params["limit"]),
        as_json=params["as_json"],
    )


def _items_command(proposal: Proposal, request: ImportRequest, source: list[str]) -> str | None:
    if not proposal.items:
        return None
    header = [word for key, value in proposal.source_options.items() for word in ("-o", f"{key}={value}")]
    maps = [
        word for field, column in proposal.items.items() if field != column for word in ("--map", f"{field}={column}")
    ]
    return join_words(["segadmin", "data", "import", "items", mask_url(request.where), *maps, *header, *source])


def _source_arguments(context: typer.Context) -> list[str]:
    """Return the options of the command that describe the source."""
    params = context.params
    arguments = ["--source", params["source"]] if params["source"] else []
    arguments += [argument for pair in params["option"] or [] for argument in ("-o", pair)]
    return [*arguments, "--query", params["query"]] if params["query"] else arguments


def _import_command(context: typer.Context, table_: str, where: str) -> str:
    """Return the command that imports the previewed data, with all its options that the import has too."""
    # The password is not printed; sources expand environment variables.
    arguments = ["segadmin", "data", "import", table_, mask_url(where).replace(MASK, "$PASSWORD")]
    command = cast("click.Group", typer.main.get_command(imports.app)).commands[table_]
    for option in command.params:
        value = context.params.get(option.name or "")
        if option.param_type_name != "option" or option.name == "as_json" or value in (None, [], False):
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            arguments += [option.opts[0], str(item)]
    return join_words(arguments)
