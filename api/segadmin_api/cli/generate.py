"""``segadmin data generate``: a synthetic shop, as files."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from segadmin.counts import counted
from segadmin.settings import Language
from segadmin_api.cli.output import JsonOption, echo, show_json, terminal


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
