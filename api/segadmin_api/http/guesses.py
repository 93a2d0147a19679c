"""Slowing down whoever guesses keys: so many wrong ones an address may give, then one every few seconds.

Wrong keys that begin alike count once for the address, and further ones against each other: a program that goes on
with a revoked key slows down itself, and not others behind the same address. Keys that were right a moment ago are
never slowed down. All of this is one process's own, and is bounded.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address, ip_network

#: Wrong keys at once, and the seconds after which one more may be given.
BURST, REFILL_SECONDS = 10, 10.0
#: Wrong keys that are given at once, before the first is known to be wrong, cost tokens in advance, to this depth.
_DEBT = -60.0
#: Addresses, beginnings of keys, and right keys that are remembered.
_REMEMBERED = 10_000
#: Characters of a key that tell it from others.
_BEGINNING = 12
#: An IPv6 client has a whole network of this size to itself.
_IPV6_BITS = 64


class TokenBuckets:
    """A bucket of tokens for each name; one that was not used for long is full, and forgotten first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  #: tokens there were, and when

    def wait(self, name: Hashable) -> float:
        """Return the seconds until there is a token; 0 where there is one."""
        return max(0.0, (1.0 - self._tokens(name)) * REFILL_SECONDS)

    def take(self, name: Hashable) -> bool:
        """Take a token, a future one where there is none, and return whether ``name`` was unknown."""
        is_new = name not in self._buckets
        self._buckets[name] = (max(_DEBT, self._tokens(name) - 1.0), self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return is_new

    def _tokens(self, name: Hashable) -> float:
        tokens, since = self._buckets.get(name, (float(BURST), self._clock()))
        return min(float(BURST), tokens + (self._clock() - since) / REFILL_SECONDS)


class Guesses:
    """The wrong keys that were given lately; may be used from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._by_address, self._by_beginning = TokenBuckets(clock), TokenBuckets(clock)
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def seconds_to_wait(self, address: str, key: str) -> int:
        """Return after how many seconds this address may give such a key; 0: now."""
        network = _network(address)
        with self._lock:
            if _digest(key) in self._right:
                return 0
            wait = max(self._by_address.wait(network), self._by_beginning.wait((network, key[:_BEGINNING])))
        return math.ceil(round(wait, 3))  # sums of fractions of tokens are not exact

    def wrong(self, address: str, key: str) -> None:
        """Note that a key was wrong."""
        network = _network(address)
        with self._lock:
            self._right.pop(_digest(key), None)
            if self._by_beginning.take((network, key[:_BEGINNING])):
                self._by_address.take(network)

    def right(self, key: str) -> None:
        """Note that a key was right."""
        with self._lock:
            self._right[_digest(key)] = None
            self._right.move_to_end(_digest(key))
            if len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or a network of IPv6."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(ip_network(f"{found}/{_IPV6_BITS}", strict=False))
    return str(found.ipv4_mapped or found if isinstance(found, IPv6Address) else found)
