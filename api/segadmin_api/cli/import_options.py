"""The options that say what is imported: the source of the rows, and the mapping of its columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin_api.cli.output import parse_options
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_import import mapping_there

if TYPE_CHECKING:
    from segadmin.events.mapping import Mapping

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


def mapping_of(context: typer.Context) -> Mapping:
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


def source_options(context: typer.Context) -> dict[str, str]:
    """Return the options of the source, of which the query has an option of its own."""
    query = context.params["query"]
    return parse_options(context.params["option"] or [], "--option") | ({} if query is None else {"query": query})
