"""``segadmin enqueue``: asking for a job. There is a command for every kind, made from the kind's request model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError
from segadmin.jobs.control import view
from segadmin.jobs.enqueue import Enqueued, ask
from segadmin.jobs.registry import Workflow, offered_kinds, workflows
from segadmin.jobs.requests import parse_request
from segadmin.settings import Settings, get_settings
from segadmin.urls import mask_all
from segadmin_api.cli.job_file import merge, read_job_file, write_job_file
from segadmin_api.cli.output import JsonOption, echo, group, show_json
from segadmin_api.cli.request_options import check_needed, given_options, parameters
from segadmin_api.formatting import waits
from segadmin_worker.client import dispatcher


class _Kinds(TyperGroup):
    """Has a command for every kind of job; plugins are loaded only where they may have brought the kind."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Only the names: "did you mean" looks through them.
        self.commands = cast("dict[str, Any]", dict.fromkeys(workflows()))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all kinds."""
        _load_plugins()
        return offered_kinds()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Make the command of a kind."""
        return _command(cmd_name)


app = group("Ask for a job. It is saved first, so it is never lost; workers do it when they can.", cls=_Kinds)


@app.callback()
def _group() -> None:
    """Make this a group, which Typer does not for an app without commands."""


def _about_enqueuing(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="Job file: its keys are this request's fields; options given here go before it. See --print-config.",
        ),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the job file of this request; enqueue nothing.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch the job to its end; its outcome is the exit code.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Show what the job will probably take; enqueue nothing.")
    ] = False,
    priority: Annotated[int, typer.Option(min=0, max=9, help="Priority, 0 (lowest) to 9 (highest).")] = 5,
    key: Annotated[
        str | None,
        typer.Option(
            help="Idempotency key: the same request with the same key makes no second job; another request is an error."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Stand for the options of every kind that say how to enqueue, and not what."""


_HOW = tuple(inspect.signature(_about_enqueuing, eval_str=True).parameters.values())


def options_of(kind: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the options of a job that ``segadmin enqueue KIND WORDS…`` would ask for; nothing of an unknown kind.

    Raises:
        UsageError: there is no such option, or a needed one is missing.
        ConfigurationError: an option is about this one enqueue and not about the job.
    """
    command = _command(kind)
    if command is None:
        return {}
    with command.make_context(f"segadmin enqueue {kind}", list(words)) as context:
        for name in (parameter.name for parameter in _HOW if parameter.name != "config"):
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                flag = name.removeprefix("as_").replace("_", "-")
                raise ConfigurationError(f"--{flag} is not an option of the job. Leave it out.")
        return _options(workflows()[kind], context)


def _command(kind: str) -> Any:
    """Return the command of a kind of job, or ``None`` if there is no such kind."""
    if kind not in workflows():
        _load_plugins()
    workflow = workflows().get(kind)
    if workflow is None:
        return None
    alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    alone.command(kind, help=workflow.summary)(_function(workflow))
    return typer.main.get_command(alone)


def _function(workflow: Workflow) -> Callable[..., None]:
    """Return a function of the options of ``workflow``, from which Typer makes a command."""

    def enqueue(context: typer.Context, **_: Any) -> None:
        _enqueue(workflow, context)

    about = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    how = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in _HOW]
    signature = inspect.Signature([about, *parameters(workflow.request), *how])
    enqueue.__signature__ = signature  # type: ignore[attr-defined]
    enqueue.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return enqueue


def _load_plugins() -> None:
    """Let installed plugins register their kinds; where the settings cannot be used, there are the built-in ones."""
    with suppress(ConfigurationError):
        load_plugins(get_settings())


def _options(workflow: Workflow, context: typer.Context) -> dict[str, Any]:
    """Return what was asked for: in the job file, and over that on the command line."""
    config, options = context.params["config"], given_options(workflow.request, context)
    if config is not None:
        options = merge(read_job_file(workflow.kind, config), options)
    check_needed(workflow.request, options)
    return options


def _enqueue(workflow: Workflow, context: typer.Context) -> None:
    options = _options(workflow, context)
    if context.params["print_config"]:
        echo(write_job_file(workflow.kind, parse_request(workflow.kind, options)), nl=False)
        return
    settings = get_settings()
    if context.params["estimate"]:
        _estimate(settings, workflow.kind, options, as_json=context.params["as_json"])
        return
    if settings.server:
        _enqueue_remotely(settings, workflow.kind, options, context.params)
        return
    key, as_json = context.params["key"], context.params["as_json"]
    done = ask(
        settings,
        dispatcher(settings),
        workflow.kind,
        options,
        idempotency_key=key,
        priority=context.params["priority"],
    )
    if as_json:
        facts = {"job": done.job.id, "kind": workflow.kind, "created": done.created, "rung": done.dispatched}
        show_json(facts | {"options": mask_all(done.job.options)})
    elif not done.created:
        echo(f"Job {done.job.id} has the key {key!r} already; nothing new was enqueued.")
    else:
        _report(done)
    if context.params["wait"]:
        from segadmin_api.cli.sources import LocalJobs
        from segadmin_api.cli.watch import watch

        raise typer.Exit(watch(LocalJobs(settings).view, done.job.id or 0, quiet=as_json))


def _estimate(settings: Settings, kind: str, options: dict[str, Any], *, as_json: bool) -> None:
    """Show what a job will probably take, here or on a server."""
    from segadmin.jobs.estimate import estimate
    from segadmin_api.cli.remote import connected
    from segadmin_api.estimates import estimate_sentences
    from segadmin_api.schemas.jobs import Estimate

    if settings.server:
        wanted = parse_request(kind, options).model_dump(mode="json", exclude_defaults=True)
        with connected(settings) as client:
            cost = client.estimate(kind, wanted)
    else:
        cost = Estimate.model_validate(estimate(settings, kind, options))
    if as_json:
        show_json(cost.model_dump(mode="json"))
        return
    for line in estimate_sentences(cost):
        echo(line)


def _enqueue_remotely(settings: Settings, kind: str, options: dict[str, Any], how: Mapping[str, Any]) -> None:
    """Ask a server for a job; repeated until it answers, and enqueued once."""
    from segadmin_api.cli.remote import connected
    from segadmin_api.cli.sources import view_of

    wanted = parse_request(kind, options).model_dump(mode="json", exclude_defaults=True)
    with connected(settings) as client:
        done = client.enqueue(kind, wanted, key=how["key"], priority=how["priority"])
        job = view_of(client.show_job(done.job))
    if how["as_json"]:
        facts = {"job": done.job, "kind": kind, "created": done.created, "rung": done.dispatched}
        show_json(facts | {"options": job.job.options})
    elif not done.created:
        echo(f"Job {done.job} has the key {how['key']!r} already; nothing new was enqueued.")
    elif not done.dispatched:
        echo(f"Saved as job {done.job} ({kind}); it starts when the server's broker is back.")
    else:
        echo(f"Enqueued job {done.job} ({kind}). Watch it: segadmin jobs watch {done.job}")
        if job.waits_for:
            echo(f"It {waits(job)}.")
    if how["wait"]:
        from segadmin_api.cli.sources import RemoteJobs
        from segadmin_api.cli.watch import watch

        raise typer.Exit(watch(RemoteJobs(settings).view, done.job, quiet=how["as_json"]))


def _report(done: Enqueued) -> None:
    """Say which job was made, and what it waits for."""
    number, kind = done.job.id or 0, done.job.kind
    if not done.dispatched:
        echo(f"Saved as job {number} ({kind}); it starts when the broker is back.")
        echo(str(done.trouble), err=True)
        return
    waiting = "" if done.ready else waits(view(get_settings(), number))
    echo(f"Enqueued job {number} ({kind}). Watch it: segadmin jobs watch {number}")
    if waiting:
        echo(f"It {waiting}.")
