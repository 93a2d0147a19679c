"""``segadmin --server URL``: commands work on another machine's segadmin, over its HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from segadmin.settings import Settings, get_settings
from segadmin_api.cli.output import UsageError

if TYPE_CHECKING:
    from segadmin_api.client import Client

Result = TypeVar("Result")
_SERVICES = "It is about the services of one machine. Run it there."
_DATABASE = "Databases are cared for where they are. Run it on a machine that has SEGADMIN_DATABASE_URL."
#: Commands that only work on the machine itself → why, and what to do instead. All others work with ``--server`` too.
LOCAL: dict[str, str] = {
    **dict.fromkeys(("up", "down", "status", "worker", "beat", "flower", "web"), _SERVICES),
    "demo": "It makes a shop of its own on this machine. Unset SEGADMIN_SERVER.",
    "db": _DATABASE,
    "backup": "It reads the files of the home. Run it on that machine.",
    "restore": "It writes the files of a home. Run it on that machine.",
    "backbones pull": "It downloads to the disk of one machine. Run it on the workers' machines.",
    "plugins new": "It writes a package on this machine. Unset SEGADMIN_SERVER.",
    "models export": "It reads the weights in the store. Run it on a machine that has the store.",
    "models import": "It writes the weights to the store. Run it on a machine that has the store.",
    "data inbox": "It is about files of the store. Run it on a machine that has the store.",
    "data interrupted": "It is about files of the store. Run it on a machine that has the store.",
    "data generate": "It writes files on this machine. Unset SEGADMIN_SERVER.",
    "data compact": "Ask the server for a job instead: segadmin enqueue compact",
    "data import completejourney": "Its data is in a package. Run it on a machine that has the store.",
}
#: Those of them that work on this machine, once no variable names a server.
HERE = {"demo", "plugins new", "data generate"}


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


def answer(local: Callable[[Settings], Result], remote: Callable[[Client], Result]) -> Result:
    """Return what this machine answers, or if the settings name a server, what that does."""
    settings = get_settings()
    if settings.server is None:
        return local(settings)
    with connected(settings) as client:
        return remote(client)


def restrict(name: str, command: Any) -> None:
    """Let a command, or those of its subcommands that only work on this machine, refuse to run."""
    if name in LOCAL:
        make_context = command.make_context

        def refuse(info_name: str, args: list[str], **more: Any) -> Any:
            if "--help" not in args:
                _refuse(name, LOCAL[name])
            return make_context(info_name, args, **more)

        command.make_context = refuse
        return
    for subcommand, each in getattr(command, "commands", {}).items():
        restrict(f"{name} {subcommand}", each)


def _refuse(words: str, instead: str) -> NoReturn:
    raise UsageError(f"`segadmin {words}` does not work with --server (SEGADMIN_SERVER). {instead}")
