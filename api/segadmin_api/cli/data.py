"""``segadmin data``: import, generate, inspect and erase the data of the lake."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.counts import counted
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import LabelSet
from segadmin_api.cli import (
    contents,
    data_profile,
    forget,
    generate,
    imports,
    inbox,
    interrupted,
    mappings,
    merges,
    preview,
    quarantine,
)
from segadmin_api.cli.output import JsonOption, echo, group, parse_options, show_json
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_record

if TYPE_CHECKING:
    from segadmin_api.client import Client

app = group("Import, generate, inspect and erase events, items and labels.")
app.add_typer(imports.app, name="import")
app.command()(preview.preview)
app.add_typer(mappings.app, name="mappings")
app.command()(inbox.inbox)
app.command()(interrupted.interrupted)
app.command()(quarantine.quarantine)
app.command()(merges.merge)
app.command()(merges.merges)
app.command()(generate.generate)
app.command()(forget.forget)


@app.command()
def compact(as_json: JsonOption = False) -> None:
    """Merge small files of the lake into large ones; reads and writes can continue, and no data is lost."""
    from segadmin.storage.compaction import compact as compact_lake

    compacted = compact_lake(get_settings())
    if as_json:
        show_json(compacted)
        return
    for name, files in compacted.items():
        echo(f"{name}: {counted(files['before'], 'file')} became {files['after']:,}.")
    if not compacted:
        echo("There are no small files to merge.")


@app.command("label")
def label_(
    name: Annotated[str, typer.Argument(help="The name of the label set; an existing one is replaced.")],
    labeler: Annotated[str, typer.Option(help="The labeler, which derives the labels.")] = "future-spend",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the labeler.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Derive labels from events."""
    from sqlmodel import select

    from segadmin.labels.labeling import label

    options = parse_options(option or [], "--option")

    def here(settings: Settings) -> tuple[LabelSet, bool]:
        label_set = label(settings, name, labeler, options)
        with transaction(settings) as session:
            return label_set, len(session.exec(select(LabelSet.name)).all()) == 1

    def there(client: Client) -> tuple[LabelSet, bool]:
        label_set = as_record(LabelSet, client.derive_label_set(name, labeler, options))
        return label_set, len(client.list_label_sets().items) == 1

    label_set, is_only = answer(here, there)
    if as_json:
        show_json(label_set.model_dump(mode="json"))
        return
    labels_option = "" if is_only else f" --labels {quote(name)}"
    labels = f"{counted(label_set.rows, 'label')} of {', '.join(label_set.segments)}"
    echo(f"{name}: {labels}. Next: segadmin enqueue retrain{labels_option} --wait")


app.command()(data_profile.profile)
app.command("list")(contents.list_contents)
