"""Rate limit for wrong keys: an address may send a burst of them, then one every few seconds.

Wrong keys with the same beginning count once for the address; further ones are limited per beginning. So a program that
continues with a revoked key slows down only itself, and not other clients behind the same address. Keys that were valid
recently are never limited. The state belongs to all processes of a server, and its size is bounded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from segadmin_api.http.counts import Counts

#: Number of wrong keys allowed at once, and the seconds after which one more is allowed.
BURST, REFILL_SECONDS = 10, 10.0
#: Lowest number of tokens: concurrent wrong keys, sent before the first was rejected, are charged in advance.
_DEBT = -60.0
#: Seconds after which it is recorded again that a key is valid.
_RECORDED_SECONDS = 60.0
#: The kind of count of keys that were valid.
_RIGHT = "right"
#: Number of characters that form the beginning of a key.
_BEGINNING = 12
#: Prefix length of the network that counts as one IPv6 client.
_IPV6_BITS = 64


class TokenBuckets:
    """A token bucket per name; those that were used longest ago are forgotten first, because they are full."""

    def __init__(
        self,
        counts: Counts,
        kind: str,
        clock: Callable[[], float] = time.monotonic,
        burst: float = BURST,
        refill_seconds: float = REFILL_SECONDS,
    ) -> None:
        """Begin with full buckets, or with what other processes have left in them.

        Args:
            counts: where the tokens are counted.
            kind: of these buckets among the counts.
            clock: returns the time in seconds, the same in all processes.
            burst: tokens of a full bucket.
            refill_seconds: seconds until one more token is there.
        """
        self._counts, self._kind, self._clock = counts, kind, clock
        self._burst, self._refill = float(burst), refill_seconds

    def wait(self, name: str) -> float:
        """Return the seconds until a token is available; 0 if there is one."""
        return max(0.0, (1.0 - self._tokens(self._counts.get(self._kind, name))) * self._refill)

    def take(self, name: str) -> bool:
        """Take a token, in advance if there is none, and return whether ``name`` was unknown."""
        with self._counts.turn():
            count = self._counts.get(self._kind, name)
            self._counts.put(self._kind, name, max(_DEBT, self._tokens(count) - 1.0), self._clock())
        return count is None

    def _tokens(self, count: tuple[float, float] | None) -> float:
        if count is None:
            return self._burst
        tokens, since = count
        return min(self._burst, tokens + (self._clock() - since) / self._refill)


class Guesses:
    """The recent wrong keys; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, counts: Counts | None = None) -> None:
        """Begin, or go on with what other processes know.

        Args:
            clock: returns the time in seconds, the same in all processes.
            counts: where keys are counted; ``None``: in the memory of this process.
        """
        self._clock, self._counts = clock, counts or Counts()
        self._by_address = TokenBuckets(self._counts, "address", clock)
        self._by_beginning = TokenBuckets(self._counts, "beginning", clock)

    def seconds_to_wait(self, address: str, key: str) -> int:
        """Return the seconds until this address may send such a key; 0: now."""
        if self._counts.get(_RIGHT, key) is not None:
            return 0
        network = _network(address)
        wait = max(self._by_address.wait(network), self._by_beginning.wait(_beginning(network, key)))
        return math.ceil(round(wait, 3))  # sums of floats are not exact

    def wrong(self, address: str, key: str) -> None:
        """Record that a key was wrong."""
        network = _network(address)
        self._counts.drop(_RIGHT, key)
        if self._by_beginning.take(_beginning(network, key)):
            self._by_address.take(network)

    def right(self, key: str) -> None:
        """Record that a key was valid."""
        known, now = self._counts.get(_RIGHT, key), self._clock()
        if known is None or now - known[1] > _RECORDED_SECONDS:
            self._counts.put(_RIGHT, key, 0.0, now)


def _beginning(network: str, key: str) -> str:
    return f"{network} {key[:_BEGINNING]}"


def _network(address: str) -> str:
    """Return what counts as one client: an IPv4 address or an IPv6 network."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(ip_network(f"{parsed}/{_IPV6_BITS}", strict=False))
    return str(parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed)
