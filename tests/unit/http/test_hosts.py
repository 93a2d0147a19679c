"""Under which hosts the server answers."""

from __future__ import annotations

import pytest

from segadmin_api.http.hosts import Hosts


@pytest.mark.parametrize(
    ("names", "address", "header", "allowed"),
    [
        ((), "127.0.0.1", "localhost:8000", True),
        ((), "127.0.0.1", "LOCALHOST", True),
        ((), "127.0.0.1", "localhost.", True),
        ((), "127.0.0.1", "[::1]:8000", True),
        ((), "127.0.0.1", "127.0.0.1:8000", True),
        ((), "127.0.0.1", "evil.example", False),
        ((), "127.0.0.1", "192.0.2.1:8000", False),
        ((), "127.0.0.1", "localhost.evil.example", False),
        ((), "127.0.0.1", "localhost:8000@evil.example", False),
        ((), "127.0.0.1", "localhost:8000:9", False),
        ((), "127.0.0.1", "localhost/", False),
        ((), "127.0.0.1", "localhost evil.example", False),
        ((), "127.0.0.1", "localhost,evil.example", False),
        ((), "127.0.0.1", "löcalhost", False),
        ((), "127.0.0.1", "[::1", False),
        ((), "192.0.2.1", "192.0.2.1:8000", True),
        ((), "shop.example", "shop.example", True),
        ((), "0.0.0.0", "192.0.2.1:8000", True),
        ((), "::", "[2001:db8::1]:8000", True),
        ((), "0.0.0.0", "evil.example", False),
        ((), "0.0.0.0", "192.0.2.1.evil.example", False),
        (("shop.example",), "0.0.0.0", "shop.example:443", True),
        (("shop.example",), "0.0.0.0", "a.shop.example", False),
        (("*.shop.example",), "0.0.0.0", "a.shop.example", True),
        (("*.shop.example",), "0.0.0.0", "shop.example", False),
        (("*.shop.example",), "0.0.0.0", "evilshop.example", False),
        (("*",), "127.0.0.1", "anything.example", True),
        (("*",), "127.0.0.1", "", True),
        (("shop.example",), "0.0.0.0", "", False),
    ],
)
def test_hosts(names: tuple[str, ...], address: str, header: str, *, allowed: bool) -> None:
    assert Hosts(names, address).allows(header) is allowed
