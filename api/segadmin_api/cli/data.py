"""``segadmin data``: what the lake holds, what was kept out of it, and what leaves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from segadmin.counts import counted
from segadmin.errors import DataError
from segadmin.settings import Language, Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Import, LabelSet
from segadmin.storage.store import compare_folder
from segadmin_api.cli import imports, inbox, interrupted, mappings
from segadmin_api.cli.output import JsonOption, RawCells, group, parse_options, save_page, show_json, table
from segadmin_api.formatting import ago

if TYPE_CHECKING:
    import polars as pl

    from segadmin.events.erase import Erased
    from segadmin.events.profile import Profile
    from segadmin.events.user_list import ListedUser

app = group("Import events, items and labels; look at what was rejected.")
_BAR_WIDTH = 40
app.add_typer(imports.app, name="import")
app.command()(imports.preview)
app.add_typer(mappings.app, name="mappings")
app.command()(inbox.inbox)
app.command()(interrupted.interrupted)


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 1_000,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How many days, up to 2026-01-01.")] = 120,
    locale: Annotated[Language, typer.Option(help="Of titles, categories and reviews.")] = "en",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    items: Annotated[int, typer.Option(min=8, help="How many items the shop has.")] = 2_000,
    drift_day: Annotated[int | None, typer.Option(min=1, help="Some users change segment on this day.")] = None,
    drift_share: Annotated[float, typer.Option(min=0, max=1, help="Share of users who do.")] = 0.2,
    cold: Annotated[float, typer.Option(min=0, max=1, help="Share of users with one to three events.")] = 0.05,
    bots: Annotated[float, typer.Option(min=0, max=1, help="Share of users that are bots.")] = 0.001,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of rows that are there twice.")] = 0.002,
    dirty: Annotated[float, typer.Option(min=0, max=1, help="Rows that cannot be used, as a share.")] = 0.002,
    clean: Annotated[bool, typer.Option("--clean", help="No bots, duplicates or dirty rows.")] = False,
    form: Annotated[Literal["parquet", "csv", "jsonl"], typer.Option("--format", help="Of the events.")] = "parquet",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was generated there before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make up a shop's log with planted segments, and the truth beside it; for tests, trials and load."""
    from rich.console import Console
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
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Generating users", total=users)
        told = write(plan, out, form, overwrite=overwrite, progress=lambda made: bar.update(task, completed=made))
    if as_json:
        show_json(told)
        return
    typer.echo(
        f"{counted(told['rows'], 'row')} of {counted(users, 'user')} in {out}; "
        f"{told['usable']:,} can be used, the rest is planted."
    )
    here = quote(str(out.absolute()))
    typer.echo(f"Next: segadmin data import items {here}/items.parquet && segadmin data import events {here}/events/*")
    typer.echo(f"      segadmin data import labels {here}/labels.parquet --name planted")


@app.command()
def forget(
    users: Annotated[
        list[str] | None, typer.Argument(metavar="USER...", help="Shop's ids, or pseudonyms of 16 hex digits.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="CSV with a column of users, or one user a line.")] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The file's column of users; default: user, user_id or the like.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase users: from tables, quarantine, what waits to be imported, and what jobs left behind. It cannot be undone.

    Users who are not known are named, and the exit code is 1; the others are erased all the same. Without USER, an
    erasure that was interrupted is finished. Whom a shop goes on to send events of is there again with the next one:
    end that first.
    """
    from segadmin.events.erase import forget as erase
    from segadmin.events.erasure_mark import was_interrupted
    from segadmin.events.user_list import ListedUser, read_users

    if column is not None and file is None:
        raise typer.BadParameter("It is a column of a file. Add the file: --file", param_hint="--column")
    listed = [*(ListedUser(user) for user in users or []), *(read_users(file, column) if file else [])]
    for name in {one.column for one in listed} - {None}:
        typer.echo(f"{file}: the users are those in the column {name!r}. Another one: --column NAME", err=True)
    asked: dict[str, ListedUser] = {}
    for one in listed:
        asked.setdefault(one.user, one)
    interrupted = was_interrupted(get_settings())
    if not asked and not interrupted:
        raise typer.BadParameter("Name a user, or a file of users: --file", param_hint="USER")
    if asked and not yes:
        typer.confirm(f"Erase {len(asked)} user{'s' if len(asked) > 1 else ''} for good?", abort=True)
    done = list(zip(asked.values(), erase(get_settings(), list(asked)), strict=True))
    if interrupted:
        typer.echo("An erasure had been interrupted; it is complete now.", err=True)
    unknown = [erased for _, erased in done if not erased.is_known]
    if as_json:
        show_json([asdict(erased) | asdict(who) | {"known": erased.is_known} for who, erased in done])
    elif done:
        for who, erased in done:
            _show_erased(who, erased, file)
        typer.echo(f"{len(done) - len(unknown):,} of {counted(len(done), 'user')} erased; {len(unknown):,} not found.")
    if unknown:
        raise typer.Exit(1)


def _show_erased(who: ListedUser, one: Erased, file: Path | None) -> None:
    if not one.is_known:
        place = "" if who.line is None else f"{file}, line {who.line}: "
        guess = f" Did you mean {' or '.join(map(repr, one.similar))}?" if one.similar else ""
        typer.echo(f"{place}user {who.user!r} ({one.user_key}) is not known; nothing was erased.{guess}", err=True)
        return
    rows = ", ".join(f"{table}: {count:,}" for table, count in one.rows.items() if count)
    typer.echo(f"user {one.user_key}: erased ({rows}).")
    if one.similar:
        typer.echo(f"  Another user is written almost so, and was not erased: {' or '.join(map(repr, one.similar))}")
    if one.model_versions:
        numbers = ", ".join(str(number) for number in one.model_versions)
        typer.echo(f"  Learnt from by model {numbers}, which cannot unlearn. Train anew: segadmin enqueue retrain")


@app.command()
def compact(as_json: JsonOption = False) -> None:
    """Join the lake's small files, which many imports leave, to large ones; nobody waits for it and nothing is lost."""
    from segadmin.storage.compaction import compact as join

    done = join(get_settings())
    if as_json:
        show_json(done)
        return
    for name, one in done.items():
        typer.echo(f"{name}: {counted(one['before'], 'file')} became {one['after']:,}.")
    if not done:
        typer.echo("Nothing is to be joined.")


@app.command("label")
def label_(
    name: Annotated[str, typer.Argument(help="What to call the label set; an existing one is replaced.")],
    labeler: Annotated[str, typer.Option(help="How labels are derived.")] = "future-spend",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Option of the labeler.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Derive labels from the events themselves."""
    from sqlmodel import select

    from segadmin.labels.labeling import label

    made = label(get_settings(), name, labeler, parse_options(option or [], "--option"))
    if as_json:
        show_json(made.model_dump(mode="json"))
        return
    with transaction(get_settings()) as session:
        is_only = len(session.exec(select(LabelSet.name)).all()) == 1
    which = "" if is_only else f" --labels {quote(name)}"
    labels = f"{counted(made.rows, 'label')} of {', '.join(made.segments)}"
    typer.echo(f"{name}: {labels}. Next: segadmin enqueue retrain{which} --wait")


@app.command()
def profile(
    html: Annotated[Path | None, typer.Option(help="Write it as a page to this file instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what the lake holds: events by kind and day, users by history, what is missing, top categories."""
    from segadmin.events.profile import profile as look

    found = look(get_settings())
    if html is not None:
        from segadmin_api.dashboard.data_report import page

        save_page(html, page(found))
    if as_json:
        show_json(found.model_dump(mode="json"))
    elif html is not None:
        typer.echo(f"Wrote the profile of {counted(found.events, 'event')} to {html}. Open it in a browser.")
    else:
        _show_profile(found)


def _show_profile(found: Profile) -> None:
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    typer.echo(
        f"{counted(found.events, 'event')} of {counted(found.users, 'user')} about {counted(found.items, 'item')}, "
        f"{found.first} to {found.last}"
    )
    for title, counts in (
        ("events by kind", found.by_kind),
        ("users by number of events", found.by_history),
        ("top categories", found.top_categories),
        ("in quarantine", found.quarantine),
        ("late: older than the newest event there was, by up to", found.late),
    ):
        drawn = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1, 0, 2))
        most = max(counts.values(), default=1)
        for name, count in counts.items():
            drawn.add_row(Text(name), f"{count:,}", Bar(most, 0, count, width=_BAR_WIDTH))
        if counts:
            Console().print(drawn)
    kinds = list(found.by_kind)
    rows = [[name, *(f"{by.get(kind, 0):.0%}" for kind in kinds)] for name, by in found.filled.items()]
    table("fields that are filled, by kind", ["field", *(f">{kind}" for kind in kinds)], rows)
    known = " · ".join(f"{name} {share:.0%}" for name, share in found.items_known.items())
    typer.echo(f"items of events: {known}")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List what the store holds: tables, label sets and imports."""
    from sqlmodel import col, select

    from segadmin.events.interrupted import state_of
    from segadmin.storage.import_lock import is_importing

    settings = get_settings()
    compare_folder(settings)
    with transaction(settings) as session:
        sets = session.exec(select(LabelSet).order_by(LabelSet.name)).all()
        done = session.exec(select(Import).order_by(col(Import.id).desc()).limit(20)).all()
    importing = is_importing(settings)
    states = {one.id: state_of(one, importing=importing) for one in done}
    facts = _tables(settings)
    if as_json:
        show_json(
            {
                "tables": facts,
                "label_sets": [one.model_dump(mode="json") for one in sets],
                "imports": [one.model_dump(mode="json") | {"state": states[one.id]} for one in done],
            }
        )
        return
    if not any(one["rows"] for one in facts) and not done and not sets:
        typer.echo("The store is empty. Import events: segadmin data import events FILE, or try: segadmin demo")
        return
    table("tables", ["table", ">rows", "what"], [(one["table"], f"{one['rows']:,}", one["what"]) for one in facts])
    if sets:
        rows = [(one.name, one.labeler, f"{one.rows:,}", " · ".join(one.segments)) for one in sets]
        table("label sets", ["name", "labeler", ">rows", "segments"], rows)
    table(
        "imports",
        ["import", "table", "file", "state", ">kept", ">quarantined", ">ignored", "when"],
        [
            (
                one.id,
                one.table,
                one.file,
                states[one.id],
                f"{one.rows_kept:,}",
                f"{one.rows_quarantined:,}",
                f"{one.rows_ignored:,}",
                ago(one.created_at),
            )
            for one in done
        ],
    )
    if "interrupted" in states.values():
        typer.echo("Go on with what was interrupted: segadmin data interrupted")


@app.command()
def quarantine(
    number: Annotated[int | None, typer.Option("--import", help="Only rows of this import.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only rows with this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Write all of them, to be corrected, to this .csv, .jsonl or .parquet file.")
    ] = None,
    raw_cells: RawCells = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete these rows, when they are corrected and imported.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the rows that could not be used, as they came, and why.

    To correct them: write them to a file (`--out`), correct the file, import it with the mapping of the first import,
    and delete them here (`--drop`). An import leaves out the columns of the file that begin with `quarantine:`.
    """
    from segadmin.events.quarantine import drop_rows, find_rows
    from segadmin.storage.audit import record

    settings = get_settings()
    _check_import(settings, number)
    if drop:
        _drop(number, reason, lambda: drop_rows(settings, number, reason), yes=yes, as_json=as_json)
        return
    record(settings, "data.quarantine", "all imports" if number is None else f"import {number}")
    rows = find_rows(settings, number, reason)
    if out is not None:
        _write_quarantine(rows.collect(), out, raw_cells=raw_cells)
        return
    found = rows.limit(limit).collect().to_dicts()
    if as_json:
        show_json(found)
        return
    table(
        "",
        [">import", ">line", "reason", "column", "value", "row"],
        [[one[name] for name in ("import_id", "line", "reason", "column", "value", "row")] for one in found],
        empty="Nothing is in quarantine." if reason is None else f"No row is in quarantine with the reason {reason!r}.",
    )


def _check_import(settings: Settings, number: int | None) -> None:
    """Raise ``DataError`` for an import that there never was."""
    with transaction(settings) as session:
        if number is not None and session.get(Import, number) is None:
            raise DataError(f"There is no import {number}. Look: segadmin data list")


def _write_quarantine(rows: pl.DataFrame, out: Path, *, raw_cells: bool) -> None:
    from segadmin.events.quarantine import as_file
    from segadmin.snapshots.export import find_sink

    sink = find_sink(get_settings(), out)
    written = sink.write(as_file(rows, formulas=sink.formulas and not raw_cells).lazy(), out)
    typer.echo(f"Wrote {counted(written, 'row')} to {out}.")
    if written:
        number, name = rows["import_id"][0], rows["table"][0]
        typer.echo(
            f"Correct them there, and import the file with the mapping of import {number} (--mapping, --map, --set, "
            f"--timezone): segadmin data import {name} {out}"
        )
        typer.echo(f"Then: segadmin data quarantine --import {number} --drop")


def _drop(number: int | None, reason: str | None, drop_rows: Callable[[], int], *, yes: bool, as_json: bool) -> None:
    which = [f"of import {number}"] if number is not None else []
    which += [f"with the reason {reason}"] if reason is not None else []
    if not yes:
        typer.confirm(f"Delete the rows {' '.join(which) or 'of all imports'} from quarantine for good?", abort=True)
    rows = drop_rows()
    if as_json:
        show_json({"rows": rows})
    else:
        typer.echo(f"Deleted {counted(rows, 'row')} from quarantine.")


def _tables(settings: Settings) -> list[dict[str, Any]]:
    import polars as pl

    from segadmin.storage.lake import Lake

    lake = Lake.of(settings)
    facts = []
    for name in ("events", "items", "users", "labels", "quarantine"):
        rows = lake.scan(name).select(pl.len()).collect().item()
        facts.append({"table": name, "rows": rows, "what": ""})
    first, last = lake.scan("events").select(first=pl.col("at").min(), last=pl.col("at").max()).collect().row(0)
    if first is not None:
        facts[0]["what"] = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return facts
