"""``segadmin demo``: the main job on real data, start to finish, on this machine."""

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

#: What a household spends in the eight weeks after the text ends, in terciles.
LABELS = "spend3"
#: What is fitted where nobody says otherwise.
DEFAULT = "stacked"
#: ``--quick``: so many households, shorter texts, one epoch, one baseline.
QUICK_USERS = 300
QUICK: dict[str, Any] = {"baselines": ["tabular"], "margin": -0.1}
QUICK_OPTIONS = {"text_options": "max_tokens=32,epochs=1"}


def app(
    quick: Annotated[bool, typer.Option("--quick", help=f"Only {QUICK_USERS} households: under two minutes.")] = False,
    full: Annotated[bool, typer.Option("--full", help="All of it, however slow this machine is.")] = False,
    backbone: Annotated[str, typer.Option("--backbone", "-b", help="Which model to fine-tune.")] = DEFAULT,
    textualizer: Annotated[str, typer.Option("--textualizer", "-t", help="How events become text.")] = "mixed",
    no_flower: Annotated[bool, typer.Option("--no-flower", help="Start no Flower.")] = False,
) -> None:
    """Segment real shoppers: a year of 2,469 households, a fine-tuned language model, honest baselines beside it.

    Starts Redis, workers, beat, Flower and web pages here, imports the Complete Journey data, derives labels, retrains,
    evaluates, scores every household and publishes a snapshot. Everything stays, for you to look around.

    How fast this machine trains is measured first; where all of it would take long, the model learns from less.
    """
    settings, console, start = get_settings(), Console(), time.monotonic()
    _refuse_other_data(settings)
    load_plugins(settings).make("backbone", backbone, {}).check(settings)
    scale = _scaled(console) if backbone == DEFAULT and not (quick or full) else WHOLE
    _say(console, 1, "Starting Redis, workers, beat, Flower and web pages")
    _start(no_flower=no_flower)
    _say(console, 2, "Importing a year of real purchases")
    _import(QUICK_USERS if quick else scale.households)
    _say(console, 3, "Labelling households by what they spend in the eight weeks after the text ends")
    _label(settings, console)
    _say(console, 4, f"Fitting {backbone}, with baselines beside it, then scoring every household")
    options: dict[str, Any] = {"backbone": backbone, "textualizer": textualizer, "labels": LABELS, **scale.options}
    if quick:
        options |= QUICK
        if backbone == DEFAULT:
            options["backbone_options"] = QUICK_OPTIONS
    job = _retrain(settings, options)
    _show(settings, console, job)
    _where_next(settings, console, time.monotonic() - start)


def _say(console: Console, number: int, what: str) -> None:
    console.print(f"\n[bold]{number}/4 {what}[/bold]", highlight=False)


def _scaled(console: Console) -> Scale:
    """Measure this machine, and say what was chosen."""
    with console.status("Measuring how fast this machine trains …"):
        speed = measure()
    scale = choose(speed)
    console.print(explain(scale, speed), highlight=False, soft_wrap=True)
    return scale


def _refuse_other_data(settings: Settings) -> None:
    """The demo's households must not mix with somebody's own users."""
    with transaction(settings) as session:
        files = session.exec(select(Import.file)).all()
    own = re.compile(r"products\.parquet|transactions\.parquet|completejourney-.*")
    foreign = [file for file in files if not own.fullmatch(file)]
    if foreign:
        raise ConfigurationError(
            f"{settings.root} holds other data ({foreign[0]}). Give the demo a home of its own: "
            "segadmin --home .segadmin-demo demo"
        )


def _start(*, no_flower: bool) -> None:
    from segadmin_api.cli.machine import up

    try:
        up(detach=True, no_flower=no_flower, no_web=False)
    except typer.Exit as ended:
        if ended.exit_code:
            raise


def _import(users: int | None) -> None:
    from segadmin_api.cli.imports import import_completejourney

    import_completejourney(users)


def _label(settings: Settings, console: Console) -> None:
    from segadmin.labels.labeling import label
    from segadmin_plugins.sources.completejourney import WEEK_ONE

    made = label(settings, LABELS, "future-spend", {"first_week": WEEK_ONE})
    lower, upper = made.definition["thresholds"]
    console.print(
        f"{counted(made.rows, 'label')}: low up to {lower:.0f}, mid up to {upper:.0f}, high above. "
        f"Learnt from {_days(made.definition['train_cuts'])}; tested on {_days(made.definition['test_cuts'])}.",
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
    """Print the metrics, and the segments if the model was good enough to be put to use."""
    from segadmin_api.cli import models, snapshots

    results = {step.stage: step.result for step in control.view(settings, job).steps}
    console.rule("How good it is")
    models.show(str(results["gate"]["model_version_id"]))
    console.rule("Who is where")
    if not results["gate"]["promoted"]:
        console.print(f"Not put to use: {results['gate']['reason']}. What follows is of the champion.", highlight=False)
    snapshots.show("current", LABELS)


def _where_next(settings: Settings, console: Console, seconds: float) -> None:
    from segadmin_api.cli.machine import pages
    from segadmin_worker import state

    console.rule("Where to look next")
    running = state.read(settings)
    home = "" if settings.home == Settings.model_fields["home"].default else f" --home {settings.home}"
    command = f"segadmin{home}"
    lines = {
        f"{command} users show 1 --text": "one household: its segment, and the text that the model read",
        f"{command} snapshots export --out segments.csv": "everybody's segment, for a campaign",
        f"{command} enqueue retrain -b tiny --wait": "another model, promoted if it beats the baselines and this",
        f'{command} schedule add nightly --cron "0 3 * * *" refresh': "score changed users, every night",
        f"{command} down": "stop everything; what was made stays",
    }
    width = max(map(len, lines))
    for line, what in lines.items():
        console.print(f"  {line:<{width}}  [dim]{what}[/dim]", highlight=False, soft_wrap=True)
    for line in pages(settings, running) if running is not None else ():
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print(f"\nAll of it took {int(seconds) // 60} min {int(seconds) % 60} s.", highlight=False)
