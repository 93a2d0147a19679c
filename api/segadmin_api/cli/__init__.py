"""The ``segadmin`` command. Each subcommand's module is imported only when that subcommand runs."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from segadmin.errors import InvalidSettings, SegadminError
from segadmin.log_masking import mask_logs
from segadmin.permissions import use_umask
from segadmin.printable import printable
from segadmin.urls import mask_secrets
from segadmin_api.cli.next_commands import remember_home, remember_server, with_options
from segadmin_api.cli.output import UsageError, echo

#: Exit code after Ctrl-C: 128 and the number of SIGINT.
_INTERRUPTED = 130
#: Subcommand → its Typer app, its one-line help, and its panel in ``--help``.
_JOBS, _MACHINE, _DATA = "Jobs and results", "Running segadmin", "Data and plugins"
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("demo:app", "Run the whole workflow on real data on this machine.", _MACHINE),
    "up": ("machine:up", "Start all services on this machine: Redis, workers, beat, Flower, web.", _MACHINE),
    "down": ("machine:down", "Stop what `up --detach` started.", _MACHINE),
    "status": ("machine_status:status", "Show the services on this machine.", _MACHINE),
    "worker": ("services:worker", "Run a worker, for a deployment.", _MACHINE),
    "beat": ("services:beat", "Run the scheduler, for a deployment.", _MACHINE),
    "flower": ("services:flower", "Run Flower with a password, for a deployment.", _MACHINE),
    "web": ("services:web", "Run the HTTP API, for a deployment.", _MACHINE),
    "keys": ("keys:app", "Keys of the web pages and the HTTP API.", _MACHINE),
    "doctor": ("doctor:app", "Check this installation and show how to fix problems.", _MACHINE),
    "settings": ("settings:settings", "The settings that commands use here, and where each comes from.", _MACHINE),
    "db": ("db:app", "The SQL database: status, check, upgrade, adopt.", _MACHINE),
    "backup": ("backup:backup", "Save the database, the store and the secret in one file.", _MACHINE),
    "restore": ("backup:restore", "Restore a backup into an empty home.", _MACHINE),
    "data": ("data:app", "Import, generate, preview and erase events, items and labels.", _DATA),
    "audit": ("audit:app", "The audit log: who viewed, exported or erased users.", _DATA),
    "backbones": ("backbones:app", "Backbones, and the pretrained weights on this machine.", _DATA),
    "plugins": ("plugins:app", "Textualizers, backbones and other plugins.", _DATA),
    "enqueue": (
        "enqueue:app",
        "Enqueue a job: retrain, score, refresh, pretrain, tune, textualize, compact, …",
        _JOBS,
    ),
    "jobs": ("jobs:app", "List, show, watch, cancel and retry jobs.", _JOBS),
    "schedule": ("schedule:app", "Jobs that repeat on a cron expression.", _JOBS),
    "models": ("models:app", "Model versions and their evaluations.", _JOBS),
    "snapshots": ("snapshots:app", "Segments of all users, published and immutable.", _JOBS),
    "segments": (
        "segments:app",
        "Segments: sizes, descriptions, worth, and what distinguishes them.",
        _JOBS,
    ),
    "report": ("report:report", "A report of a snapshot for business people, as one file with pictures.", _JOBS),
    "drift": ("drift:app", "What changed since a model went into use; quality without labels.", _JOBS),
    "feeds": ("feeds:app", "Receivers of who entered, left or moved between segments.", _JOBS),
    "users": ("users:app", "Users: segment, text, history, corrections, and who is worth a look.", _JOBS),
}


class LazyGroup(TyperGroup):
    """Lists its subcommands by name and imports one only when it is used."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Only the names, for "did you mean".
        self.commands = cast("dict[str, Any]", dict.fromkeys(COMMANDS))
        self._listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the subcommands without importing them."""
        self._listing = True
        super().format_help(ctx, formatter)
        self._listing = False

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand; usage errors have no passwords, no control characters and no words of pydantic."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.message = printable(with_options(mask_secrets(error.message.removeprefix("Value error, "))))
            raise

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of :data:`COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a subcommand; for the list of commands, its entry in :data:`COMMANDS` is enough."""
        if cmd_name not in COMMANDS:
            return None
        target, summary, panel = COMMANDS[cmd_name]
        if self._listing or ctx.resilient_parsing:
            target_app: Any = lambda: None  # noqa: E731
        else:
            module, _, attribute = target.partition(":")
            target_app = getattr(importlib.import_module(f"segadmin_api.cli.{module}"), attribute)
        if not isinstance(target_app, typer.Typer):
            function, target_app = target_app, typer.Typer(add_completion=False)
            target_app.command(help=function.__doc__ or summary)(function)
        command: Any = typer.main.get_command(target_app)
        if ctx.params.get("server") or os.environ.get("SEGADMIN_SERVER"):
            from segadmin_api.cli.remote import restrict

            restrict(cmd_name, command)
        command.name = cmd_name
        command.short_help = summary
        command.rich_help_panel = panel
        return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Segments an online shop's users from what they do, with a fine-tuned language model.",
)


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        echo(f"segadmin {version('segadmin')}")
        raise typer.Exit


@app.callback()
def _root(
    home: Annotated[Path | None, typer.Option(help="Folder of all local state [SEGADMIN_HOME].")] = None,
    plugin_file: Annotated[
        list[Path] | None, typer.Option(help="Python file to load as a plugin; may be repeated.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Work on this server (`segadmin web`) over HTTP [SEGADMIN_SERVER].")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Key for the server; better in the variable [SEGADMIN_KEY].")] = None,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    for name, value in (("HOME", home), ("SERVER", server), ("KEY", key)):
        if value is not None:
            os.environ[f"SEGADMIN_{name}"] = str(value)
    if server is not None or os.environ.get("SEGADMIN_SERVER"):
        from segadmin_api.cli.remote import HERE, LOCAL

        remember_server(server, COMMANDS, HERE, LOCAL.keys() - HERE)
    elif home is not None:
        remember_home(home, COMMANDS)
    for path in plugin_file or ():
        if not path.is_file():
            raise typer.BadParameter(f"File '{path}' does not exist.", param_hint="--plugin-file")
    if plugin_file:
        os.environ["SEGADMIN_PLUGIN_FILES"] = json.dumps([str(path.resolve()) for path in plugin_file])
    use_umask()


def main() -> None:
    """Run the command line; an error of segadmin or of a plugin is one line on stderr and exit code 1."""
    # Imports make many objects that stay: searching them for garbage takes a seventh of the time of a short command.
    gc.set_threshold(100_000)
    mask_logs()
    try:
        app(prog_name="segadmin")
    except InvalidSettings as error:
        _fail(*error.problems)
    except SegadminError as error:
        _fail(str(error))
    except BaseException as error:  # also sys.exit() in a plugin, and a panic of Polars
        from segadmin.contracts.plugin_errors import blame

        interrupt = _interrupt(error)
        blamed = blame(interrupt or error)
        if interrupt is not None:
            echo(f"Interrupted. {blamed or ''}".rstrip(), err=True)
            sys.exit(_INTERRUPTED)
        if blamed is not None:
            _fail(str(blamed))
        if isinstance(error, SystemExit):
            raise
        echo(mask_secrets(traceback.format_exc()), err=True)
        sys.exit(1)


def _interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the Ctrl-C that ended the command, which Typer turns into an exit; or ``None``."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or (error.__context__ if isinstance(error, SystemExit) else None)
    return error


def _fail(*problems: str) -> NoReturn:
    for problem in problems:
        echo(f"Error: {mask_secrets(problem)}", err=True)
    sys.exit(1)
