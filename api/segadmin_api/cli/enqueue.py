"""``segadmin enqueue``: asking for a job."""

from __future__ import annotations

from collections import abc
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    import click

from segadmin.contracts.templates import read_templates
from segadmin.errors import ConfigurationError
from segadmin.events.mapping import Mapping
from segadmin.jobs.control import view
from segadmin.jobs.enqueue import ask
from segadmin.labels.parts import HELD_OUT
from segadmin.settings import get_settings
from segadmin.urls import mask_all
from segadmin_api.cli.imports import MappingFile, SourceName
from segadmin_api.cli.output import JsonOption, group, parse_options, show_json
from segadmin_api.formatting import waits
from segadmin_worker.client import ring_over

app = group("Ask for a job. It is saved first, so it is never lost; workers do it when they can.")

Labels = Annotated[str | None, typer.Option(help="Label set; needed only where there are several.")]
Model = Annotated[str, typer.Option(help="`champion`, or the number of a model version.")]
OfBackbone = Annotated[
    str | None,
    typer.Option("--backbone", "-b", help="The newest model with this backbone, unless the champion has it."),
]
Textualizer = Annotated[str, typer.Option("--textualizer", "-t", help="How events become text.")]
TextualizerOption = Annotated[
    list[str] | None, typer.Option("--textualizer-option", metavar="KEY=VALUE", help="Option of the textualizer.")
]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", "-b", help="A registered name, a Hugging Face id, or a folder.  [default: minilm]"),
]
Seed = Annotated[int, typer.Option(help="Of everything random.")]
Also = Annotated[
    list[str] | None, typer.Option(help="Label set to learn at the same time: it helps where labels are few.")
]
Split = Annotated[str, typer.Option(help="How test rows are kept apart: time or user.")]
HeldOut = Annotated[
    float,
    typer.Option(
        help="Share of the users who choose when to stop; with --split user as many again test. With --from a trained "
        "version, that version's."
    ),
]
BackboneOption = Annotated[
    list[str] | None, typer.Option("--backbone-option", metavar="KEY=VALUE", help="Option of the backbone.")
]
LanguageOption = Annotated[str | None, typer.Option("--language", help="Language of the text: en or zh.")]
TemplateFile = Annotated[
    Path | None,
    typer.Option("--templates", metavar="FILE", help="TOML file with other sentences; see `plugins show textualizer`."),
]
WindowDays = Annotated[float, typer.Option(help="How many days back the text goes.")]
MaxPhrases = Annotated[int, typer.Option(help="So many phrases of a user are kept, the most informative.")]
Wait = Annotated[bool, typer.Option("--wait", help="Watch the job to its end; its outcome is the exit code.")]
Priority = Annotated[int, typer.Option(min=0, max=9, help="9 goes first.")]
#: Parameters that say how to enqueue, and not what.
_ABOUT_ENQUEUING = ("wait", "priority", "key", "as_json")
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Idempotency key: the same request with the same key makes no second job; another request is an error.",
    ),
]


def _days(told: str | float) -> float:
    """Return the days of ``400d``, ``400``, ``18m`` or ``2y``."""
    text = str(told).strip().lower()
    unit = {"d": 1.0, "w": 7.0, "m": 30.0, "y": 365.0}.get(text[-1:], 1.0)
    try:
        return float(text.rstrip("dwmy")) * unit
    except ValueError:
        raise typer.BadParameter(f"{told!r} is no length of time. Say it as in 400d, 60w, 18m or 2y.") from None


@app.command()
def retrain(
    context: typer.Context,
    backbone: Backbone = None,
    backbone_option: BackboneOption = None,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="VERSION", help="Go on from a model version, or `champion`, with its backbone."),
    ] = None,
    replay: Annotated[
        float, typer.Option(help="Share of what that version has learnt that it is shown again beside what is new.")
    ] = 0.2,
    textualizer: Textualizer = "mixed",
    textualizer_option: TextualizerOption = None,
    templates: TemplateFile = None,
    labels: Labels = None,
    also: Also = None,
    split: Split = "time",
    held_out: HeldOut = HELD_OUT,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Backbone to fit beside it; default: tabular and tfidf.")
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(help="Who is told of the fit's figures: tensorboard, wandb, mlflow, none; repeatable."),
    ] = None,
    tracker_option: Annotated[
        list[str] | None,
        typer.Option("--tracker-option", metavar="KEY=VALUE", help="Such as mlflow.uri=http://mlflow:5000."),
    ] = None,
    language: LanguageOption = None,
    window_days: WindowDays = 112.0,
    max_phrases: MaxPhrases = 96,
    margin: Annotated[
        float, typer.Option(help="To be promoted, the test AUROC must be so much above each baseline's.")
    ] = 0.0,
    precision: Annotated[
        float | None,
        typer.Option(help="Who cannot be put in a segment so surely, say 0.7, is put in none.  [default: all are]"),
    ] = None,
    augment: Annotated[int, typer.Option(help="Copies of each training row that say the same otherwise.")] = 0,
    drop_events: Annotated[float, typer.Option(help="Share of the events that such a copy leaves out.")] = 0.1,
    seed: Seed = 17,
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune a backbone on labelled users, evaluate it, and, if it is good, put every user in a segment."""
    _enqueue("retrain", context.params)


@app.command()
def tune(
    context: typer.Context,
    backbone: Backbone = None,
    backbone_option: BackboneOption = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION=VALUES", help="Such as epochs=1..4, learning_rate=1e-5..1e-3:log, tuner=full,lora."
        ),
    ] = None,
    trials: Annotated[int, typer.Option(help="So many tries, pruned ones counted.")] = 20,
    parallel: Annotated[int, typer.Option(help="So many at a time, where there are workers.")] = 2,
    minutes: Annotated[float | None, typer.Option(help="No trial begins later, and those that run end.")] = None,
    textualizer: Textualizer = "mixed",
    textualizer_option: TextualizerOption = None,
    templates: TemplateFile = None,
    labels: Labels = None,
    also: Also = None,
    split: Split = "time",
    held_out: HeldOut = HELD_OUT,
    language: LanguageOption = None,
    window_days: WindowDays = 112.0,
    max_phrases: MaxPhrases = 96,
    seed: Seed = 17,
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Search the backbone's options by validation log-loss; `jobs trials` shows what was tried and what matters."""
    _enqueue("tune", context.params)


@app.command()
def pretrain(
    context: typer.Context,
    backbone: Annotated[
        str, typer.Option("--backbone", "-b", help="A registered language model, a Hugging Face id, or a folder.")
    ] = "minilm",
    backbone_option: BackboneOption = None,
    textualizer: Textualizer = "mixed",
    textualizer_option: TextualizerOption = None,
    templates: TemplateFile = None,
    language: LanguageOption = None,
    window_days: WindowDays = 112.0,
    max_phrases: MaxPhrases = 96,
    windows: Annotated[int, typer.Option(help="Texts of each user, each half a window before the next.")] = 4,
    until: Annotated[
        datetime | None,
        typer.Option(help="Texts end here, UTC.  [default: where the labels' test rows begin, else the newest event]"),
    ] = None,
    mask: Annotated[float, typer.Option(help="Share of what is hidden and to be guessed, in encoders.")] = 0.15,
    whole_phrases: Annotated[bool, typer.Option("--whole-phrases", help="Hide whole phrases.")] = False,
    new_words: Annotated[int, typer.Option(help="So many of the shop's own words become part of the vocabulary.")] = 0,
    seed: Seed = 17,
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Let a language model read all users' texts, labelled or not; `retrain --from` starts from what it has become."""
    _enqueue("pretrain", context.params)


def _scoring(kind: str, summary: str) -> None:
    """Add a command that scores with a model there is."""

    @app.command(kind, help=summary)
    def enqueue_scoring(
        context: typer.Context,
        model: Model = "champion",
        backbone: OfBackbone = None,
        labels: Labels = None,
        wait: Wait = False,
        priority: Priority = 5,
        key: Key = None,
        as_json: JsonOption = False,
    ) -> None:
        _enqueue(kind, context.params)


_scoring("score", "Score every user anew and publish a snapshot.")
_scoring("refresh", "Score the users whose behaviour changed, carry the others forward, and publish a snapshot.")


@app.command()
def textualize(
    context: typer.Context,
    textualizer: Textualizer = "mixed",
    textualizer_option: TextualizerOption = None,
    templates: TemplateFile = None,
    language: LanguageOption = None,
    window_days: WindowDays = 112.0,
    max_phrases: MaxPhrases = 96,
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Turn every user's recent events into text, and report what it is like."""
    _enqueue("textualize", context.params)


@app.command()
def ingest(
    context: typer.Context,
    where: Annotated[str, typer.Argument(metavar="WHERE", help="A file or URL that workers reach, such as redis://…")],
    table: Annotated[str, typer.Option(help="events or items.")] = "events",
    mapping: MappingFile = None,
    source: SourceName = None,
    source_option: Annotated[
        list[str] | None, typer.Option("--source-option", metavar="KEY=VALUE", help="Option of the source.")
    ] = None,
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Import by a worker: what came into a stream since the last time, or what a query gives now. For schedules."""
    _enqueue("ingest", context.params)


@app.command()
def retain(
    context: typer.Context,
    keep_days: Annotated[float, typer.Option("--keep", parser=_days, metavar="400d", help="Events this new stay.")],
    wait: Wait = False,
    priority: Priority = 5,
    key: Key = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the events that are older."""
    _enqueue("retain", context.params)


@app.command()
def compact(
    context: typer.Context, wait: Wait = False, priority: Priority = 5, key: Key = None, as_json: JsonOption = False
) -> None:
    """Join the lake's small files, which many imports leave, to large ones."""
    _enqueue("compact", context.params)


def options_of(kind: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the options of a job that ``segadmin enqueue KIND WORDS…`` would ask for.

    Raises:
        click.UsageError: there is no such option.
        ConfigurationError: an option is about this one enqueue and not about the job.
    """
    command = cast("click.Group", typer.main.get_command(app)).commands[kind]
    with command.make_context(f"segadmin enqueue {kind}", list(words)) as context:
        sources = {name: context.get_parameter_source(name) for name in _ABOUT_ENQUEUING}
        if given := [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]:
            raise ConfigurationError(f"--{given[0].removeprefix('as_')} is not an option of the job. Leave it out.")
        return _job_options(context.params)


def _job_options(parameters: abc.Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parameters.items():
        if name.endswith("_option"):
            options[f"{name}s"] = parse_options(value or [], f"--{name.replace('_', '-')}")
        elif name in {"baseline", "tracker"}:
            options |= {f"{name}s": value} if value else {}
        elif name == "search":
            options |= {name: parse_options(value, "--search")} if value else {}
        elif name == "also":
            options |= {name: value} if value else {}
        elif name == "until":
            options |= {name: value.isoformat()} if value else {}
        elif name == "templates":
            options |= {name: read_templates(value)} if value else {}
        elif name == "mapping":
            options |= {name: Mapping.read(value).model_dump(mode="json")} if value else {}
        elif name not in _ABOUT_ENQUEUING:
            options[name] = value
    return options


def _enqueue(kind: str, parameters: abc.Mapping[str, Any]) -> None:
    options = _job_options(parameters)
    wait, priority, key, as_json = (parameters[name] for name in _ABOUT_ENQUEUING)
    settings = get_settings()
    done = ask(settings, ring_over(settings), kind, options, idempotency_key=key, priority=priority)
    number = done.job.id
    assert number is not None
    if as_json:
        show_json(
            {
                "job": number,
                "kind": kind,
                "created": done.created,
                "rung": done.rung,
                "options": mask_all(done.job.options),
            }
        )
    elif not done.created:
        typer.echo(f"Job {number} has the key {key!r} already; nothing new was enqueued.")
    elif done.rung:
        waiting = waits(view(settings, number))
        typer.echo(f"Enqueued job {number} ({kind}). Watch it: segadmin jobs watch {number}")
        if waiting:
            typer.echo(f"It {waiting}.")
    else:
        typer.echo(f"Saved as job {number} ({kind}); it starts when the broker is back.")
        typer.echo(str(done.trouble), err=True)
    if wait:
        from segadmin_api.cli.watch import watch

        raise typer.Exit(watch(settings, number, quiet=as_json))
