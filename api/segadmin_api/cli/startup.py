"""What ``up``, ``worker``, ``beat``, ``flower`` and ``web`` check before they start anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import typer

from segadmin import preflight
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import InvalidSettings
from segadmin.settings import Settings
from segadmin.urls import mask_secrets


@dataclass(frozen=True)
class Listener:
    """Where something is to listen."""

    address: str
    port: int
    option: str  #: what the port was chosen by: an option or a variable


def validate(settings: Settings, *listeners: Listener, leave_out: Collection[str] = ()) -> None:
    """Warn of what will be missing, and refuse to start where a setting cannot be used.

    Raises:
        InvalidSettings: with a line for every problem.
    """
    from segadmin_worker.config import signing_problem, transport_problem

    for line in _warnings(settings):
        typer.echo(f"Warning: {mask_secrets(line)}", err=True)
    problems = preflight.problems(settings, leave_out=leave_out)
    found = [transport_problem(settings), *map(port_problem, listeners)]
    if not any("SEGADMIN_SIGNING_" in line for line in problems):  # it would only say so again
        found.append(signing_problem(settings))
    problems += [problem for problem in found if problem is not None]
    if problems:
        raise InvalidSettings(problems)


def port_problem(listener: Listener) -> str | None:
    """Return what keeps somebody from listening there, or ``None``."""
    where = f"{listener.option}={listener.port}: "
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.address, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        return f"--address={listener.address}: it is no address of this machine: {error.strerror}. Use 127.0.0.1."
    except OSError as error:
        return f"{where}{listener.address} port {listener.port}: {error.strerror}. Choose another port, or free it."
    return None


def same_port(settings: Settings) -> str | None:
    """Return the line about two parts of this machine that want the same port, or ``None``."""
    if settings.web_port and settings.web_port == settings.flower_port:
        return f"SEGADMIN_WEB_PORT and SEGADMIN_FLOWER_PORT are both {settings.web_port}. Change one of them."
    return None


def _warnings(settings: Settings) -> Iterator[str]:
    for name, meant in preflight.unknown_variables(os.environ).items():
        yield f"{name} is no setting.{meant} Rename it, or unset {name}."
    yield from map(str, load_plugins(settings).broken.values())
    yield from preflight.exposed(settings)
