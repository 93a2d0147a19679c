"""``segadmin demo``: the whole workflow on real data, on this machine."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from sqlmodel import select

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, SegadminError
from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.settings import Language, Settings, get_settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Import
from segadmin.workflows.backbone_options import chosen_backbone
from segadmin_api.cli.demo_scale import MARGIN, measure
from segadmin_api.cli.demo_shops import QUICK_USERS, SHOPS, DemoShop
from segadmin_api.cli.imports import import_all
from segadmin_api.cli.output import terminal
from segadmin_worker.client import dispatcher

#: The default backbone.
DEFAULT = "stacked"
#: ``--quick``: fewer users, shorter texts, one epoch, one baseline.
QUICK: dict[str, Any] = {"baselines": ["tabular"], "margin": -0.1}
QUICK_OPTIONS = {"text_options": "max_tokens=32,epochs=1"}


def app(
    quick: Annotated[bool, typer.Option("--quick", help=f"Only {QUICK_USERS} users: under two minutes.")] = False,
    language: Annotated[
        Language, typer.Option("--language", help="zh: a synthetic Chinese shop, read by the language model e5.")
    ] = "en",
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
    With --language zh the shop is Chinese and synthetic, and its segments are known.

    The training speed of this machine is measured first; on a slow machine, the model is trained on less data.
    """
    settings, console, start = get_settings(), terminal(), time.monotonic()
    shop = SHOPS[language]()
    _check_home(settings, shop)
    plugins = load_plugins(settings)
    chosen = chosen_backbone(plugins, backbone, {}, language)
    plugins.make("backbone", chosen["backbone"], chosen["backbone_options"]).check(settings)
    options = {"backbone": backbone, "textualizer": textualizer, "labels": shop.labels, "margin": MARGIN}
    options |= shop.options
    if quick:
        shop.users = QUICK_USERS
        options |= QUICK | ({"backbone_options": QUICK_OPTIONS} if backbone == DEFAULT else {})
    elif backbone == DEFAULT and not full:
        console.print(shop.scale(_measured(console)), highlight=False, soft_wrap=True)
        options |= shop.scaled
    _announce(console, 1, "Starting Redis, workers, beat, Flower and web pages")
    _start(no_flower=no_flower)
    _announce(console, 2, shop.importing)
    with shop.data() as requests:
        import_all(requests)
    _announce(console, 3, shop.labelling)
    console.print(shop.label(settings), highlight=False)
    _announce(console, 4, f"Fitting {backbone} and baselines, then scoring every user")
    job = _retrain(settings, options)
    _show(settings, console, job, shop.labels)
    _print_next_commands(settings, console, shop, time.monotonic() - start)


def _announce(console: Console, number: int, title: str) -> None:
    console.print(f"\n[bold]{number}/4 {escape(title)}[/bold]", highlight=False, markup=True)


def _measured(console: Console) -> float:
    """Return the training speed of this machine in users per second."""
    with console.status("Measuring how fast this machine trains …"):
        return measure()


def _check_home(settings: Settings, shop: DemoShop) -> None:
    """Raise ``ConfigurationError`` if the home holds other data, because the demo must not mix with it."""
    with transaction(settings) as session:
        files = session.exec(select(Import.file)).all()
    other_files = [file for file in files if not re.fullmatch(shop.imports, file)]
    if other_files:
        words = "demo" if shop.language == "en" else f"demo --language {shop.language}"
        raise ConfigurationError(
            f"{settings.root} holds other data ({other_files[0]}). Give the demo a home of its own: "
            f"segadmin --home .segadmin-demo-{shop.language} {words}"
        )


def _start(*, no_flower: bool) -> None:
    from segadmin_api.cli.machine import up

    try:
        up(detach=True, no_flower=no_flower, no_web=False)
    except typer.Exit as exit_:
        if exit_.exit_code:
            raise


def _retrain(settings: Settings, options: dict[str, Any]) -> int:
    from segadmin_api.cli.sources import LocalJobs
    from segadmin_api.cli.watch import watch

    checked = check_request(settings, "retrain", options)
    number = enqueue(settings, dispatcher(settings), "retrain", checked).job.id
    assert number is not None
    if watch(LocalJobs(settings).view, number):
        raise SegadminError(f"The demo's job failed. Look: segadmin jobs show {number}")
    return number


def _show(settings: Settings, console: Console, job: int, labels: str) -> None:
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
    snapshots.show("current", label_set=labels)


def _print_next_commands(settings: Settings, console: Console, shop: DemoShop, seconds: float) -> None:
    from segadmin_api.cli.machine_status import pages
    from segadmin_worker import state

    console.rule("Where to look next")
    running = state.read(settings)
    home = "" if settings.home == Settings.model_fields["home"].default else f" --home {settings.home}"
    command = f"segadmin{home}"
    descriptions = {
        f"{command} users show {shop.user} --text": "one user: the segment, and the text that the model read",
        f"{command} snapshots export --out segments.csv": "the segments of all users, for a campaign",
        f"{command} enqueue retrain -b tiny{shop.words} --wait": "another model, promoted if it beats all others",
        f'{command} schedule add nightly --cron "0 3 * * *" refresh': "score changed users, every night",
        f"{command} down": "stop all services; the results are kept",
    }
    width = max(map(len, descriptions))
    for text, description in descriptions.items():
        console.print(f"  {text:<{width}}  [dim]{description}[/dim]", highlight=False, soft_wrap=True, markup=True)
    for text in pages(settings, running) if running is not None else ():
        console.print(f"  {text}", highlight=False, soft_wrap=True)
    console.print(f"\nThe demo took {int(seconds) // 60} min {int(seconds) % 60} s.", highlight=False)
