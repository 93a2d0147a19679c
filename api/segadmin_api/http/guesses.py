"""Rate limit for wrong keys: an address may send a burst of them, then one every few seconds.

Wrong keys with the same beginning count once for the address; further ones are limited per beginning. So a program that
continues with a revoked key slows down only itself, and not other clients behind the same address. Keys that were valid
recently are never limited. The state belongs to one process, and its size is bounded.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address, ip_network

#: Number of wrong keys allowed at once, and the seconds after which one more is allowed.
BURST, REFILL_SECONDS = 10, 10.0
#: Lowest number of tokens: concurrent wrong keys, sent before the first was rejected, are charged in advance.
_DEBT = -60.0
#: Maximum number of addresses, of beginnings of keys, and of valid keys that are remembered.
_REMEMBERED = 10_000
#: Number of characters that form the beginning of a key.
_BEGINNING = 12
#: Prefix length of the network that counts as one IPv6 client.
_IPV6_BITS = 64


class TokenBuckets:
    """A token bucket per name; the least recently used ones are forgotten first, because they are full."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, burst: float = BURST, refill_seconds: float = REFILL_SECONDS
    ) -> None:
        """Begin with full buckets.

        Args:
            clock: returns the time in seconds.
            burst: tokens of a full bucket.
            refill_seconds: seconds until one more token is there.
        """
        self._clock, self._burst, self._refill = clock, burst, refill_seconds
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = (
            OrderedDict()
        )  #: number of tokens, and the time of that number

    def wait(self, name: Hashable) -> float:
        """Return the seconds until a token is available; 0 if there is one."""
        return max(0.0, (1.0 - self._tokens(name)) * self._refill)

    def take(self, name: Hashable) -> bool:
        """Take a token, in advance if there is none, and return whether ``name`` was unknown."""
        is_new = name not in self._buckets
        self._buckets[name] = (max(_DEBT, self._tokens(name) - 1.0), self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return is_new

    def _tokens(self, name: Hashable) -> float:
        tokens, since = self._buckets.get(name, (float(self._burst), self._clock()))
        return min(float(self._burst), tokens + (self._clock() - since) / self._refill)


class Guesses:
    """The recent wrong keys; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._by_address, self._by_beginning = TokenBuckets(clock), TokenBuckets(clock)
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def seconds_to_wait(self, address: str, key: str) -> int:
        """Return the seconds until this address may send such a key; 0: now."""
        network = _network(address)
        with self._lock:
            if _digest(key) in self._right:
                return 0
            wait = max(self._by_address.wait(network), self._by_beginning.wait((network, key[:_BEGINNING])))
        return math.ceil(round(wait, 3))  # sums of floats are not exact

    def wrong(self, address: str, key: str) -> None:
        """Record that a key was wrong."""
        network = _network(address)
        with self._lock:
            self._right.pop(_digest(key), None)
            if self._by_beginning.take((network, key[:_BEGINNING])):
                self._by_address.take(network)

    def right(self, key: str) -> None:
        """Record that a key was valid."""
        with self._lock:
            self._right[_digest(key)] = None
            self._right.move_to_end(_digest(key))
            if len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _network(address: str) -> str:
    """Return what counts as one client: an IPv4 address or an IPv6 network."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network(f"{parsed}/{_IPV6_BITS}", strict=False))
    return str(parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed)
