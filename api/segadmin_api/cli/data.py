"""``segadmin data``: import, inspect, export and erase the data of the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segadmin.counts import counted
from segadmin.errors import UserNotFound
from segadmin.settings import Language, Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Import, LabelSet
from segadmin.storage.store import compare_folder
from segadmin_api.cli import imports, inbox, interrupted, mappings, merges, preview, quarantine
from segadmin_api.cli.output import (
    JsonOption,
    confirm,
    echo,
    group,
    parse_options,
    save_page,
    show_json,
    table,
    terminal,
)
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_import, as_record, as_records
from segadmin_api.formatting import ago

if TYPE_CHECKING:
    from segadmin.events.erase import Erased
    from segadmin.events.profile import Profile
    from segadmin.events.user_list import ListedUser
    from segadmin_api.client import Client
    from segadmin_api.schemas.data import Table

app = group("Import, generate, inspect and erase events, items and labels.")
_BAR_WIDTH = 40
app.add_typer(imports.app, name="import")
app.command()(preview.preview)
app.add_typer(mappings.app, name="mappings")
app.command()(inbox.inbox)
app.command()(interrupted.interrupted)
app.command()(quarantine.quarantine)
app.command()(merges.merge)
app.command()(merges.merges)


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    users: Annotated[int, typer.Option(min=1, help="Number of users.")] = 1_000,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="Number of days, until 2026-01-01.")] = 120,
    locale: Annotated[Language, typer.Option(help="Language of titles, categories and reviews.")] = "en",
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same files.")] = 0,
    items: Annotated[int, typer.Option(min=8, help="Number of items.")] = 2_000,
    drift_day: Annotated[int | None, typer.Option(min=1, help="Some users change segment on this day.")] = None,
    drift_share: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of users who change segment on that day.")
    ] = 0.2,
    cold: Annotated[float, typer.Option(min=0, max=1, help="Fraction of users with one to three events.")] = 0.05,
    bots: Annotated[float, typer.Option(min=0, max=1, help="Fraction of users that are bots.")] = 0.001,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Fraction of duplicate rows.")] = 0.002,
    dirty: Annotated[float, typer.Option(min=0, max=1, help="Fraction of invalid rows.")] = 0.002,
    clean: Annotated[bool, typer.Option("--clean", help="No bots, duplicates or dirty rows.")] = False,
    form: Annotated[
        Literal["parquet", "csv", "jsonl"], typer.Option("--format", help="File format of the events.")
    ] = "parquet",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace generated files in the folder.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate synthetic data: a shop's log with known segments, for tests, trials and load."""
    from rich.progress import Progress

    from segadmin.events.generator.shop import Plan
    from segadmin.events.generator.write import write

    plan = Plan(
        users=users,
        days=days,
        locale=locale,
        seed=seed,
        items=items,
        drift_day=drift_day,
        drift_share=drift_share,
        cold_share=cold,
        bot_share=0 if clean else bots,
        duplicate_share=0 if clean else duplicates,
        dirty_share=0 if clean else dirty,
    )
    console = terminal(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Generating users", total=users)
        written = write(
            plan, out, form, overwrite=overwrite, progress=lambda users_done: bar.update(task, completed=users_done)
        )
    if as_json:
        show_json(written)
        return
    echo(
        f"{counted(written['rows'], 'row')} of {counted(users, 'user')} in {out}; "
        f"{written['usable']:,} can be used, the others are invalid on purpose."
    )
    folder = quote(str(out.absolute()))
    echo(f"Next: segadmin data import items {folder}/items.parquet && segadmin data import events {folder}/events/*")
    echo(f"      segadmin data import labels {folder}/labels.parquet --name planted")


@app.command()
def forget(
    users: Annotated[
        list[str] | None,
        typer.Argument(metavar="USER...", help="User ids of the shop, or pseudonyms of 16 hex digits."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="CSV file with a column of users, or one user per line.")] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of users in the file; default: user, user_id or similar.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase users permanently: from tables, quarantine, pending imports and job outputs.

    Unknown users are listed, and the exit code is 1; the others are erased nevertheless. Without USER, an interrupted
    erasure is completed. If the shop continues to send events of a user, the user is created again: stop that first.
    """
    from segadmin.events.erase import forget as erase
    from segadmin.events.erasure_mark import was_interrupted
    from segadmin.events.user_list import ListedUser, read_users

    if column is not None and file is None:
        raise typer.BadParameter("This option needs a file. Add it: --file", param_hint="--column")
    listed = [*(ListedUser(user) for user in users or []), *(read_users(file, column) if file else [])]
    for name in {entry.column for entry in listed} - {None}:
        echo(f"{file}: the users are read from the column {name!r}. To use another one: --column NAME", err=True)
    requested: dict[str, ListedUser] = {}
    for entry in listed:
        requested.setdefault(entry.user, entry)
    interrupted = get_settings().server is None and was_interrupted(get_settings())
    if not requested and not interrupted:
        raise typer.BadParameter("Name a user, or a file of users: --file", param_hint="USER")
    if requested and not yes:
        confirm(f"Permanently erase {counted(len(requested), 'user')}?")
    erasures = answer(
        lambda settings: erase(settings, list(requested), waiting=partial(echo, err=True)),
        lambda client: [_erase_there(client, user) for user in requested],
    )
    done = list(zip(requested.values(), erasures, strict=True))
    if interrupted:
        echo("An interrupted erasure was completed.", err=True)
    unknown = [erased for _, erased in done if not erased.is_known]
    if as_json:
        show_json([asdict(erased) | asdict(user) | {"known": erased.is_known} for user, erased in done])
    elif done:
        for user, erased in done:
            _show_erased(user, erased, file)
        echo(f"{len(done) - len(unknown):,} of {counted(len(done), 'user')} erased; {len(unknown):,} not found.")
    if unknown:
        raise typer.Exit(1)


def _erase_there(client: Client, user: str) -> Erased:
    """Erase a user on a server, which does not tell the pseudonym of one whom it does not know."""
    from segadmin.events.erase import Erased

    try:
        return as_record(Erased, client.erase_user(user))
    except UserNotFound:
        return Erased("no pseudonym", {}, [])


def _show_erased(user: ListedUser, erased: Erased, file: Path | None) -> None:
    if not erased.is_known:
        prefix = "" if user.line is None else f"{file}, line {user.line}: "
        suggestion = f" Did you mean {' or '.join(map(repr, erased.similar))}?" if erased.similar else ""
        echo(f"{prefix}user {user.user!r} ({erased.user_key}) is not known; nothing was erased.{suggestion}", err=True)
        return
    rows = ", ".join(f"{table}: {count:,}" for table, count in erased.rows.items() if count)
    echo(f"user {erased.user_key}: erased ({rows}).")
    if erased.merged:
        echo(f"  Erased with the users who were merged: {', '.join(erased.merged)}")
    if erased.similar:
        echo(f"  A user with a similar id was not erased: {' or '.join(map(repr, erased.similar))}")
    if erased.model_versions:
        numbers = ", ".join(str(number) for number in erased.model_versions)
        echo(f"  Model {numbers} was trained on this user and cannot unlearn. Retrain: segadmin enqueue retrain")


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


@app.command()
def profile(
    html: Annotated[Path | None, typer.Option(help="Write it as an HTML page to this file instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a profile of the lake: events by kind and day, users by history, missing fields, top categories.

    With --server: the one that the newest job of `segadmin enqueue profile` made there.
    """
    from segadmin.events.profile import profile as profile_lake

    result = answer(profile_lake, lambda client: client.show_profile().profile)
    if html is not None:
        from segadmin_api.dashboard.data_report import page

        save_page(html, page(result))
    if as_json:
        show_json(result.model_dump(mode="json"))
    elif html is not None:
        echo(f"Wrote the profile of {counted(result.events, 'event')} to {html}. Open it in a browser.")
    else:
        _show_profile(result)


def _show_profile(profile: Profile) -> None:
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    echo(
        f"{counted(profile.events, 'event')} of {counted(profile.users, 'user')} about "
        f"{counted(profile.items, 'item')}, {profile.first} to {profile.last}"
    )
    for title, counts in (
        ("events by kind", profile.by_kind),
        ("users by number of events", profile.by_history),
        ("top categories", profile.top_categories),
        ("in quarantine", profile.quarantine),
        ("late events: how much older than the newest event", profile.late),
    ):
        bars = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1, 0, 2))
        highest = max(counts.values(), default=1)
        for name, count in counts.items():
            bars.add_row(Text(name), f"{count:,}", Bar(highest, 0, count, width=_BAR_WIDTH))
        if counts:
            terminal().print(bars)
    kinds = list(profile.by_kind)
    rows = [[name, *(f"{filled.get(kind, 0):.0%}" for kind in kinds)] for name, filled in profile.filled.items()]
    table("fields that are filled, by kind", ["field", *(f">{kind}" for kind in kinds)], rows)
    items_known = " · ".join(f"{name} {share:.0%}" for name, share in profile.items_known.items())
    echo(f"items of events: {items_known}")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the contents of the store: tables, label sets and imports."""
    tables, label_sets, recent_imports, states = answer(_contents, _contents_there)
    if as_json:
        show_json(
            {
                "tables": [facts.model_dump() for facts in tables],
                "label_sets": [label_set.model_dump(mode="json") for label_set in label_sets],
                "imports": [record.model_dump(mode="json") | {"state": states[record.id]} for record in recent_imports],
            }
        )
        return
    if not any(facts.rows for facts in tables) and not recent_imports and not label_sets:
        echo("The store is empty. Import events: segadmin data import events FILE, or try: segadmin demo")
        return
    table(
        "tables",
        ["table", ">rows", "what"],
        [(facts.table, f"{facts.rows:,}", facts.what) for facts in tables],
    )
    if label_sets:
        rows = [
            (label_set.name, label_set.labeler, f"{label_set.rows:,}", " · ".join(label_set.segments))
            for label_set in label_sets
        ]
        table("label sets", ["name", "labeler", ">rows", "segments"], rows)
    table(
        "imports",
        ["import", "table", "file", "state", ">kept", ">quarantined", ">ignored", "when"],
        [
            (
                record.id,
                record.table,
                record.file,
                states[record.id],
                f"{record.rows_kept:,}",
                f"{record.rows_quarantined:,}",
                f"{record.rows_ignored:,}",
                ago(record.created_at),
            )
            for record in recent_imports
        ],
    )
    if "interrupted" in states.values():
        echo("To continue interrupted imports: segadmin data interrupted")


Contents = tuple["Sequence[Table]", Sequence[LabelSet], Sequence[Import], Mapping[int | None, str]]
#: Imports that are listed.
_IMPORTS = 20


def _contents(settings: Settings) -> Contents:
    """Return the tables, the label sets, and the newest imports with their states."""
    from sqlmodel import col, select

    from segadmin.events.interrupted import state_of
    from segadmin.storage.import_lock import is_importing
    from segadmin_api.store_tables import store_tables

    compare_folder(settings)
    with transaction(settings) as session:
        label_sets = session.exec(select(LabelSet).order_by(LabelSet.name)).all()
        imported = session.exec(select(Import).order_by(col(Import.id).desc()).limit(_IMPORTS)).all()
    importing = is_importing(settings)
    states = {record.id: state_of(record, importing=importing) for record in imported}
    return store_tables(settings), label_sets, imported, states


def _contents_there(client: Client) -> Contents:
    """Return the same of a server."""
    imported = client.list_imports(limit=_IMPORTS).items
    label_sets = as_records(LabelSet, client.list_label_sets().items)
    states: dict[int | None, str] = {item.id: item.state for item in imported}
    return client.list_tables().items, label_sets, list(map(as_import, imported)), states
