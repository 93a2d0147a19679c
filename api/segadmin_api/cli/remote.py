"""``segadmin --server URL``: the commands that work on another machine's segadmin, over its HTTP API."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from segadmin.settings import Settings
from segadmin_api.cli.output import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from segadmin_api.client import Client

#: What works with ``--server``: a command with its subcommands, or with all (``*``).
REMOTE: dict[str, frozenset[str]] = {
    "enqueue": frozenset("*"),
    "jobs": frozenset({"list", "show", "watch", "cancel", "retry", "logs"}),
    "models": frozenset({"list", "show"}),
    "snapshots": frozenset({"list", "show"}),
    "users": frozenset({"show"}),
}


@contextmanager
def connected(settings: Settings) -> Iterator[Client]:
    """Yield a client of the server that the settings name.

    Raises:
        ConfigurationError: the URL or the key cannot be used, or httpx is not installed.
    """
    from segadmin_api.client import Client

    key = settings.key.get_secret_value() if settings.key else ""
    with Client(settings.server or "", key) as client:
        yield client


def restrict(name: str, command: Any) -> None:
    """Let a command, or those of its subcommands that only work on this machine, refuse to run."""
    allowed = REMOTE.get(name, frozenset())
    if "*" in allowed:
        return
    subcommands = getattr(command, "commands", None)
    if subcommands is None or not allowed:
        command.invoke = lambda _context: _refuse(name)
        return
    for subcommand, each in subcommands.items():
        if subcommand not in allowed:
            each.invoke = lambda _context, words=f"{name} {subcommand}": _refuse(words)


def refuse_option(option: str) -> NoReturn:
    """Refuse an option that only works on this machine.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"{option} does not work with --server (SEGADMIN_SERVER). Run the command on that machine.")


def _refuse(words: str) -> NoReturn:
    known = ", ".join(f"{name} {'/'.join(sorted(each))}" if "*" not in each else name for name, each in REMOTE.items())
    raise UsageError(
        f"segadmin {words} works only on the machine itself. With --server (SEGADMIN_SERVER) there are: {known}. Unset "
        "SEGADMIN_SERVER to work on this machine."
    )
