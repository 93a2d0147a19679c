"""``segadmin demo``: the whole workflow on real data, on this machine."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from sqlmodel import select

from segadmin.contracts.plugins import load_plugins
from segadmin.counts import counted
from segadmin.errors import ConfigurationError, SegadminError
from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Import
from segadmin_api.cli.demo_scale import WHOLE, Scale, choose, explain, measure
from segadmin_worker.client import dispatcher

#: The label set: terciles of the spend of a household in the eight weeks after the cut-off.
LABELS = "spend3"
#: The default backbone.
DEFAULT = "stacked"
#: ``--quick``: fewer households, shorter texts, one epoch, one baseline.
QUICK_USERS = 300
QUICK: dict[str, Any] = {"baselines": ["tabular"], "margin": -0.1}
QUICK_OPTIONS = {"text_options": "max_tokens=32,epochs=1"}


def app(
    quick: Annotated[bool, typer.Option("--quick", help=f"Only {QUICK_USERS} households: under two minutes.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Do not reduce the demo on a slow machine.")] = False,
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="The backbone to fine-tune.")] = DEFAULT,
    textualizer: Annotated[
        str, typer.Option("--textualizer", "-t", help="The textualizer, which turns events into text.")
    ] = "mixed",
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Do not start Flower.")] = False,
) -> None:
    """Segment real shoppers: a year of purchases of 2,469 households, a fine-tuned language model, and baselines.

    Starts Redis, workers, beat, Flower and web pages on this machine, imports the Complete Journey data, derives
    labels, retrains, evaluates, scores every household and publishes a snapshot. Everything is kept for you to explore.

    The training speed of this machine is measured first; on a slow machine, the model is trained on less data.
    """
    settings, console, start = get_settings(), Console(), time.monotonic()
    _check_home(settings)
    load_plugins(settings).make("backbone", backbone, {}).check(settings)
    scale = _scaled(console) if backbone == DEFAULT and not (quick or full) else WHOLE
    _announce(console, 1, "Starting Redis, workers, beat, Flower and web pages")
    _start(no_flower=no_flower)
    _announce(console, 2, "Importing a year of real purchases")
    _import(QUICK_USERS if quick else scale.households)
    _announce(console, 3, "Labelling households by their spend in the eight weeks after the cut-off")
    _label(settings, console)
    _announce(console, 4, f"Fitting {backbone} and baselines, then scoring every household")
    options: dict[str, Any] = {"backbone": backbone, "textualizer": textualizer, "labels": LABELS, **scale.options}
    if quick:
        options |= QUICK
        if backbone == DEFAULT:
            options["backbone_options"] = QUICK_OPTIONS
    job = _retrain(settings, options)
    _show(settings, console, job)
    _print_next_commands(settings, console, time.monotonic() - start)


def _announce(console: Console, number: int, title: str) -> None:
    console.print(f"\n[bold]{number}/4 {title}[/bold]", highlight=False)


def _scaled(console: Console) -> Scale:
    """Measure the training speed of this machine, and print the chosen scale."""
    with console.status("Measuring how fast this machine trains …"):
        speed = measure()
    scale = choose(speed)
    console.print(explain(scale, speed), highlight=False, soft_wrap=True)
    return scale


def _check_home(settings: Settings) -> None:
    """Raise ``ConfigurationError`` if the home holds other data, because the demo must not mix with it."""
    with transaction(settings) as session:
        files = session.exec(select(Import.file)).all()
    demo_files = re.compile(r"products\.parquet|transactions\.parquet|completejourney-.*")
    other_files = [file for file in files if not demo_files.fullmatch(file)]
    if other_files:
        raise ConfigurationError(
            f"{settings.root} holds other data ({other_files[0]}). Give the demo a home of its own: "
            "segadmin --home .segadmin-demo demo"
        )


def _start(*, no_flower: bool) -> None:
    from segadmin_api.cli.machine import up

    try:
        up(detach=True, no_flower=no_flower, no_web=False)
    except typer.Exit as exit_:
        if exit_.exit_code:
            raise


def _import(users: int | None) -> None:
    from segadmin_api.cli.imports import import_completejourney

    import_completejourney(users)


def _label(settings: Settings, console: Console) -> None:
    from segadmin.labels.labeling import label
    from segadmin_plugins.sources.completejourney import WEEK_ONE

    label_set = label(settings, LABELS, "future-spend", {"first_week": WEEK_ONE})
    lower, upper = label_set.definition["thresholds"]
    console.print(
        f"{counted(label_set.rows, 'label')}: low up to {lower:.0f}, mid up to {upper:.0f}, high above. "
        f"Trained on {_days(label_set.definition['train_cuts'])}; "
        f"tested on {_days(label_set.definition['test_cuts'])}.",
        highlight=False,
    )


def _days(moments: list[str]) -> str:
    return ", ".join(moment[:10] for moment in moments)


def _retrain(settings: Settings, options: dict[str, Any]) -> int:
    from segadmin_api.cli.watch import watch

    checked = check_request(settings, "retrain", options)
    number = enqueue(settings, dispatcher(settings), "retrain", checked).job.id
    assert number is not None
    if watch(settings, number):
        raise SegadminError(f"The demo's job failed. Look: segadmin jobs show {number}")
    return number


def _show(settings: Settings, console: Console, job: int) -> None:
    """Print the metrics, and the segments of the champion."""
    from segadmin_api.cli import models, snapshots

    results = {step.stage: step.result for step in control.view(settings, job).steps}
    console.rule("Evaluation")
    models.show(str(results["gate"]["model_version_id"]))
    console.rule("Segments")
    if not results["gate"]["promoted"]:
        console.print(
            f"Not promoted: {results['gate']['reason']}. The segments below are those of the champion.", highlight=False
        )
    snapshots.show("current", LABELS)


def _print_next_commands(settings: Settings, console: Console, seconds: float) -> None:
    from segadmin_api.cli.machine import pages
    from segadmin_worker import state

    console.rule("Where to look next")
    running = state.read(settings)
    home = "" if settings.home == Settings.model_fields["home"].default else f" --home {settings.home}"
    command = f"segadmin{home}"
    descriptions = {
        f"{command} users show 1 --text": "one household: its segment, and the text that the model read",
        f"{command} snapshots export --out segments.csv": "the segments of all users, for a campaign",
        f"{command} enqueue retrain -b tiny --wait": "another model, promoted if it beats the baselines and this one",
        f'{command} schedule add nightly --cron "0 3 * * *" refresh': "score changed users, every night",
        f"{command} down": "stop all services; the results are kept",
    }
    width = max(map(len, descriptions))
    for text, description in descriptions.items():
        console.print(f"  {text:<{width}}  [dim]{description}[/dim]", highlight=False, soft_wrap=True)
    for text in pages(settings, running) if running is not None else ():
        console.print(f"  {text}", highlight=False, soft_wrap=True)
    console.print(f"\nThe demo took {int(seconds) // 60} min {int(seconds) % 60} s.", highlight=False)
