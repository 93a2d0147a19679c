"""The checks of ``up``, ``worker``, ``beat``, ``flower`` and ``web`` before they start services."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from segadmin import preflight
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import InvalidSettings
from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.urls import mask_secrets
from segadmin_api.cli.output import echo


@dataclass(frozen=True)
class Listener:
    """An address and port on which a service will listen."""

    address: str
    port: int
    option: str  #: the option or variable that sets the port


def validate(settings: Settings, *listeners: Listener, leave_out: Collection[str] = ()) -> None:
    """Print warnings, and raise if a setting is invalid.

    Args:
        settings: the settings to check.
        listeners: the ports that must be free.
        leave_out: names of settings that are not checked.

    Raises:
        InvalidSettings: with one line per problem.
    """
    from segadmin_worker.config import signing_problem, transport_problem

    for line in _warnings(settings):
        echo(f"Warning: {mask_secrets(line)}", err=True)
    problems = preflight.problems(settings, leave_out=leave_out)
    further_problems = [transport_problem(settings), *map(port_problem, listeners)]
    if not any("SEGADMIN_SIGNING_" in line for line in problems):  # this would repeat the same problem
        further_problems.append(signing_problem(settings))
    problems += [problem for problem in further_problems if problem is not None]
    if problems:
        raise InvalidSettings(problems)


def port_problem(listener: Listener) -> str | None:
    """Return why the port cannot be listened on, or ``None``."""
    prefix = f"{listener.option}={listener.port}: "
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.address, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        return f"--address={listener.address}: it is not an address of this machine: {error.strerror}. Use 127.0.0.1."
    except OSError as error:
        return f"{prefix}{listener.address} port {listener.port}: {error.strerror}. Choose another port, or free it."
    return None


@dataclass(frozen=True)
class Tls:
    """The files of a certificate and its private key."""

    certificate: Path
    key: Path

    @property
    def problem(self) -> str | None:
        """Why they cannot be used, or ``None``."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except OSError as error:  # ssl.SSLError is one
            return f"--tls-certificate={self.certificate}, --tls-key={self.key}: {error.strerror or error}."
        return None


def exposure_problem(settings: Settings, address: str, *, is_protected: bool) -> str | None:
    """Return why a web server must not listen on ``address``, or ``None``.

    Args:
        settings: location of the keys.
        address: what it would listen on.
        is_protected: whether TLS or a proxy protects what is sent to it.
    """
    if _is_loopback(address):
        return None
    prefix = f"--address={address}: other machines could reach the server"
    if not is_protected:
        return (
            f"{prefix}, and keys would be sent unencrypted. Put a proxy with TLS before it and add --behind-proxy, or "
            "give it a certificate: --tls-certificate FILE --tls-key FILE"
        )
    if not any(not key.has_expired for key in api_keys.keys(settings)):
        return f"{prefix}, and there is no key that is valid. Make one first: segadmin keys create NAME --role admin"
    return None


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def same_port(settings: Settings) -> str | None:
    """Return the problem that the web and Flower ports are equal, or ``None``."""
    if settings.web_port and settings.web_port == settings.flower_port:
        return f"SEGADMIN_WEB_PORT and SEGADMIN_FLOWER_PORT are both {settings.web_port}. Change one of them."
    return None


def _warnings(settings: Settings) -> Iterator[str]:
    for name, suggestion in preflight.unknown_variables(os.environ).items():
        yield f"{name} is no setting.{suggestion} Rename it, or unset {name}."
    yield from map(str, load_plugins(settings).broken.values())
    yield from preflight.exposed(settings)
