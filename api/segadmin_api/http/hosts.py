"""Validates ``Host`` headers, as a protection against DNS rebinding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: A ``Host`` header: a name, an IPv4 address, or an IPv6 address in brackets; with an optional port.
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::[0-9]{1,5})?")


class Hosts:
    """The allowed hosts of a server.

    Args:
        names: as in ``SEGADMIN_WEB_HOSTS``.
        address: the address that the server listens on. If that is every address of the machine, all IP addresses are
            allowed as hosts, because DNS rebinding needs a name.
    """

    def __init__(self, names: Sequence[str], address: str) -> None:
        self._names = {*_LOOPBACK, address.lower(), *(name for name in names if not name.startswith("*"))}
        self._endings = tuple(
            name[1:] for name in names if name.startswith("*")
        )  # "*" becomes "", which every host ends with
        self._listens_everywhere = _is_unspecified(address)

    def allows(self, header: str) -> bool:
        """Return whether this ``Host`` is allowed; an empty one is if all names are."""
        match = _HOST.fullmatch(header)
        if match is None:
            return not header and "" in self._endings
        host = (match["ipv6"] or match["name"]).lower().removesuffix(".")
        if host in self._names or host.endswith(self._endings):
            return True
        return self._listens_everywhere and _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_unspecified(address: str) -> bool:
    return not address or (_is_address(address) and ip_address(address).is_unspecified)
