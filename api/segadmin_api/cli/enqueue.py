"""``segadmin enqueue``: asking for a job."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from segadmin.jobs.control import view
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.request import check_request
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, group, parse_options, show_json, waits
from segadmin_worker.client import ring_over, shown

app = group("Ask for a job. It is saved first, so it is never lost; workers do it when they can.")

Labels = Annotated[str | None, typer.Option(help="Label set; needed only where there are several.")]
Model = Annotated[str, typer.Option(help="`champion`, or the number of a model version.")]
Textualizer = Annotated[str, typer.Option("--textualizer", "-t", help="How events become text.")]
TextualizerOption = Annotated[
    list[str] | None, typer.Option("--textualizer-option", metavar="KEY=VALUE", help="Option of the textualizer.")
]
LanguageOption = Annotated[str | None, typer.Option("--language", help="Language of the text: en or zh.")]
WindowDays = Annotated[float, typer.Option(help="How many days back the text goes.")]
Wait = Annotated[bool, typer.Option("--wait", help="Watch the job to its end; its outcome is the exit code.")]
Priority = Annotated[int, typer.Option(min=0, max=9, help="9 goes first.")]
Key = Annotated[str | None, typer.Option("--key", help="Idempotency key: the same key never makes a second job.")]


@app.command()
def retrain(
    backbone: Annotated[
        str, typer.Option("--backbone", "-b", help="A registered name, a Hugging Face id, or a folder.")
    ] = "minilm",
    backbone_option: Annotated[
        list[str] | None, typer.Option("--backbone-option", metavar="KEY=VALUE", help="Option of the backbone.")
    ] = None,
    textualizer: Textualizer = "mixed",
    textualizer_option: TextualizerOption = None,
    labels: Labels = None,
    split: Annotated[str, typer.Option(help="How test rows are kept apart: time or user.")] = "time",
    baseline: Annotated[
        list[str] | None, typer.Option(help="Backbone to fit beside it; default: tabular and tfidf.")
    ] = None,
    language: LanguageOption = None,
    window_days: WindowDays = 112.0,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 17,
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a backbone on labelled users, evaluate it, and, if it is good, put every user in a segment."""
    options: dict[str, Any] = {
        "backbone": backbone,
        "backbone_options": parse_options(backbone_option or [], "--backbone-option"),
        "textualizer": textualizer,
        "textualizer_options": parse_options(textualizer_option or [], "--textualizer-option"),
        "labels": labels,
        "split": split,
        "language": language,
        "window_days": window_days,
        "seed": seed,
    }
    if baseline is not None:
        options["baselines"] = baseline
    _enqueue("retrain", options, wait=wait, priority=priority, key=key, as_json=as_json)


def _scoring(kind: str, summary: str) -> None:
    """Add a command that scores with a model there is."""

    @app.command(kind, help=summary)
    def enqueue_scoring(
        model: Model = "champion",
        labels: Labels = None,
        wait: Wait = False,
        priority: Priority = 5,
        key: Key = None,
        as_json: JsonOption = False,
    ) -> None:
        options = {"model": model, "labels": labels}
        _enqueue(kind, options, wait=wait, priority=priority, key=key, as_json=as_json)


_scoring("score", "Score every user anew and publish a snapshot.")
_scoring("refresh", "Score the users whose behaviour changed, carry the others forward, and publish a snapshot.")


@app.command()
def textualize(
    textualizer: Textualizer = "mixed",
    textualizer_option: TextualizerOption = None,
    language: LanguageOption = None,
    window_days: WindowDays = 112.0,
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Turn every user's recent events into text, and report what it is like."""
    options = {
        "textualizer": textualizer,
        "textualizer_options": parse_options(textualizer_option or [], "--textualizer-option"),
        "language": language,
        "window_days": window_days,
    }
    _enqueue("textualize", options, wait=wait, priority=priority, key=key, as_json=as_json)


def _enqueue(kind: str, options: dict[str, Any], *, wait: bool, priority: int, key: str | None, as_json: bool) -> None:
    settings = get_settings()
    checked = check_request(settings, kind, options)
    done = enqueue(settings, ring_over(settings), kind, checked, idempotency_key=key, priority=priority)
    number = done.job.id
    assert number is not None
    if as_json:
        show_json({"job": number, "kind": kind, "created": done.created, "rung": done.rung, "options": checked})
    elif not done.created:
        typer.echo(f"Job {number} has the key {key!r} already; nothing new was enqueued.")
    elif done.rung:
        waiting = waits(view(settings, number))
        typer.echo(f"Enqueued job {number} ({kind}). Watch it: segadmin jobs watch {number}")
        if waiting:
            typer.echo(f"It {waiting}.")
    else:
        typer.echo(f"Saved as job {number} ({kind}); it starts when the broker is back.")
        start = "segadmin up --detach" if settings.embedded_broker else "segadmin doctor"
        typer.echo(f"The broker {shown(settings)} does not answer. Run: {start}", err=True)
    if wait:
        from segadmin_api.cli.watch import watch

        raise typer.Exit(watch(settings, number, quiet=as_json))
