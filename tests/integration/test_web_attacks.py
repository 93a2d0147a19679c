"""Attacks on a real web server, over raw sockets where a client library would be too polite."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from segadmin.settings import Settings
from tests.conftest import Cli
from tests.hostile_events import SHAPES
from tests.servers import wait_until, web_server

HEAD_SECONDS, BODY_SECONDS = 2, 4
CONNECTIONS = 40
NEEDED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "home"


@pytest.fixture(scope="module")
def web(home: Path) -> Iterator[str]:
    """One server for all attacks: none may keep it from answering the next."""
    bounds = {
        "SEGADMIN_HOME": str(home),
        "SEGADMIN_WEB_HEAD_SECONDS": str(HEAD_SECONDS),
        "SEGADMIN_WEB_BODY_SECONDS": str(BODY_SECONDS),
        "SEGADMIN_WEB_CONNECTIONS": str(CONNECTIONS),
        "SEGADMIN_WEB_HOSTS": "shop.example,*.shop.example",
        "SEGADMIN_WEB_PROXIES": "127.0.0.2",
    }
    with web_server(Settings(home=home), **bounds) as url:
        yield url


@pytest.fixture
def key(web: str, home: Path, cli: Cli) -> str:
    name = f"shop-{time.monotonic_ns()}"
    return cli("keys", "create", name, SEGADMIN_HOME=str(home)).stdout.strip()


@pytest.fixture
def log(home: Path) -> Callable[[], str]:
    return (home / "web.log").read_text


@contextmanager
def connection(url: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    place = urlsplit(url)
    with socket.create_connection((place.hostname or "", place.port or 0), 30, (source, 0)) as client:
        yield client


def answer_of(client: socket.socket) -> bytes:
    """Return what comes until the server closes."""
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def raw(url: str, request: str | bytes, source: str = "127.0.0.1") -> str:
    """Send bytes as they are, and return what comes back until the server closes."""
    with connection(url, source) as client:
        client.sendall(request if isinstance(request, bytes) else request.encode("latin-1"))
        return answer_of(client).decode("latin-1")


def get(
    url: str, path: str, *lines: str, method: str = "GET", source: str = "127.0.0.1", host: str = "localhost"
) -> str:
    return raw(
        url, "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]), source
    )


def post(url: str, body: bytes, *lines: str, path: str = "/v1/events") -> str:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *lines,
        "",
        "",
    ]
    return raw(url, "\r\n".join(head).encode("latin-1") + body)


def status(answer: str) -> int:
    return int(answer.split(" ", 2)[1]) if answer else 0


def headers(answer: str) -> dict[str, str]:
    head = answer.partition("\r\n\r\n")[0]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])}


def is_well(url: str) -> bool:
    start = time.monotonic()
    with urllib.request.urlopen(f"{url}/healthz", timeout=20) as answer:
        return bool(answer.status == 200) and time.monotonic() - start < 20


@pytest.fixture(autouse=True)
def server_is_well(web: str) -> Iterator[None]:
    yield
    assert is_well(web)


def test_every_answer_has_the_headers(web: str, key: str) -> None:
    bearer = f"Authorization: Bearer {key}"
    answers = {
        "a page for another key": get(web, "/jobs", "Accept: text/html", bearer),
        "a page without a key": get(web, "/jobs", "Accept: text/html"),
        "no key": get(web, "/jobs"),
        "not allowed": get(web, "/v1/events"),
        "unknown": get(web, "/nothing"),
        "health": get(web, "/healthz"),
        "redirect": get(web, "/jobs/", bearer),
        "description": get(web, "/openapi.json", bearer),
        "foreign host": get(web, "/jobs", host="evil.example"),
        "no HTTP": raw(web, "NONSENSE\r\n\r\n"),
        "no JSON": post(web, b"{", bearer),
        "too large": post(web, b"", bearer, "Content-Encoding: br"),
        "accepted": post(web, b'{"user": "u", "kind": "view", "item": "i", "at": "2026-01-01"}', bearer),
        "timeout": raw(web, "GET / HTTP/1.1\r\nHost: loc"),
    }
    expected = [401, 303, 401, 405, 404, 200, 307, 200, 421, 400, 400, 415, 202, 408]
    assert [status(answer) for answer in answers.values()] == expected
    for name, answer in answers.items():
        answer_headers = headers(answer)
        assert NEEDED.items() <= answer_headers.items(), name
        assert "default-src 'none'; frame-ancestors 'none'" in answer_headers["content-security-policy"], name
        assert "server" not in answer_headers


def test_a_failure_of_the_server_has_the_headers_too(tmp_path: Path, cli: Cli) -> None:
    home = tmp_path / "other"
    key = cli("keys", "create", "me", "--pages", SEGADMIN_HOME=str(home)).stdout.strip()
    with web_server(Settings(home=home), SEGADMIN_HOME=str(home)) as url:
        for path in home.glob("segadmin.db*"):
            path.write_bytes(b"no database" * 10_000)
        answer = get(url, "/jobs?key=seg_mistaken-and-therefore-secret", f"Authorization: Bearer {key}")
    assert status(answer) in {500, 503}
    assert NEEDED.items() <= headers(answer).items()
    assert "mistaken" not in (home / "web.log").read_text()


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost@evil.example", "[::1", "xn--80ak6aa92e.com"]
)
@pytest.mark.parametrize("path", ["/", "/jobs/", "/v1/events/", "//evil.example/", "/healthz"])
def test_a_foreign_host_is_refused_and_never_redirected_to(web: str, host: str, path: str) -> None:
    answer = get(web, path, host=host)
    assert status(answer) in {400, 421}
    assert "location" not in headers(answer)


def test_without_a_host_only_the_health_check_is_answered(web: str) -> None:
    for head in (
        "{} HTTP/1.0\r\n\r\n",
        "{} HTTP/1.0\r\nHost:\r\n\r\n",
        "{} HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    ):
        assert status(raw(web, head.format("GET /jobs"))) == 421
        assert status(raw(web, head.format("GET /healthz"))) == 200, "load balancers send no Host"
    assert status(raw(web, "GET /healthz HTTP/1.1\r\n\r\n")) == 400, "HTTP/1.1 needs one"
    assert status(raw(web, "GET /jobs HTTP/1.0\r\nHost: localhost\r\n\r\n")) == 401


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8000", "shop.example", "a.shop.example:443"])
def test_its_own_hosts_are_answered_and_redirects_are_paths(web: str, host: str) -> None:
    answer = get(web, "/jobs/", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", host=host)
    assert (status(answer), headers(answer)["location"]) == (307, "/jobs")


def test_the_request_target_cannot_set_another_host(web: str) -> None:
    for target in (
        "http://evil.example/jobs/",
        "//evil.example/jobs/",
        "http://evil.example/",
        "evil.example:443",
        "*",
    ):
        answer = get(web, target)
        assert status(answer) in {400, 401, 404, 405, 421}, target
        assert "evil" not in headers(answer).get("location", ""), target


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/docs/oauth2-redirect", "/openapi.json"])
def test_the_api_description_needs_a_key(web: str, path: str) -> None:
    assert status(get(web, path)) in {401, 404}


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/static/../../segadmin.db",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/models/..%2f..%2fuser_key_secret",
        "/jobs/1%00.html",
        "/models/%0d%0aSet-Cookie:%20a=b",
        "/jobs/%0d%0aLocation:%20http://evil.example/",
        "/.git/config",
        "/user_key_secret",
    ],
)
def test_no_path_traversal_or_response_splitting(web: str, key: str, path: str) -> None:
    answer = get(web, path, f"Authorization: Bearer {key}")
    assert status(answer) in {400, 401, 404}
    assert not {"set-cookie", "location"} & headers(answer).keys()
    assert "root:" not in answer


def test_guessing_keys_is_rate_limited_per_address(web: str, key: str, cli: Cli, home: Path) -> None:
    def guess(n: int) -> int:
        return status(get(web, "/jobs", f"Authorization: Bearer seg_{n:04}{'x' * 40}", source="127.0.0.9"))

    statuses = [guess(n) for n in range(60)]
    assert statuses[:5] == [401] * 5
    assert statuses.count(401) < 30
    slowed = get(web, "/v1/events", "Authorization: Bearer seg_yyyy", source="127.0.0.9", method="POST")
    assert status(slowed) == 429
    assert int(headers(slowed)["retry-after"]) >= 1
    assert NEEDED.items() <= headers(slowed).items()
    bearer = f"Authorization: Bearer {key}"
    assert status(get(web, "/openapi.json", bearer, source="127.0.0.9")) == 429, "whether it is right is not told"
    assert status(get(web, "/openapi.json", bearer, source="127.0.0.8")) == 200
    assert status(get(web, "/openapi.json", bearer, source="127.0.0.9")) == 200, "it is known now"
    assert status(get(web, "/healthz", source="127.0.0.9")) == 200
    assert status(get(web, "/jobs", source="127.0.0.9")) == 401, "no key is no guess: a browser asks for one"


def test_forwarded_addresses_are_trusted_from_named_proxies_only(web: str) -> None:
    def guess(n: int, source: str, client: str) -> int:
        wrong = f"Authorization: Bearer seg_{n:04}{client.replace('.', '-')}"
        return status(get(web, "/jobs", wrong, f"X-Forwarded-For: {client}", source=source))

    liar = [guess(n, "127.0.0.7", f"192.0.2.{n}") for n in range(40)]
    assert 429 in liar, "each guess says that it comes from elsewhere"
    through_proxy = [guess(n, "127.0.0.2", f"198.51.100.{n}") for n in range(40)]
    assert set(through_proxy) == {401}, "each does come from elsewhere"
    assert 429 in [guess(n, "127.0.0.2", "203.0.113.1") for n in range(40)]


def test_a_misplaced_key_is_refused_and_not_logged(web: str, key: str, log: Callable[[], str]) -> None:
    basic = base64.b64encode(f"{key}:".encode()).decode()
    for path, *lines in (
        (f"/openapi.json?key={key}",),
        (f"/openapi.json?access_token={key}&api_key={key}",),
        (f"/{key}/openapi.json",),
        (f"/jobs/{key}?x={key}",),
        (f"/jobs/?key={key}",),
        ("/openapi.json", f"Cookie: key={key}"),
        ("/openapi.json", f"X-Api-Key: {key}"),
        ("/openapi.json", f"Proxy-Authorization: Bearer {key}"),
        ("/openapi.json", f"Authorization: {key}"),
        ("/openapi.json", f"Authorization: Token {key}"),
        ("/openapi.json", f"Authorization: Basic {basic}"),
        ("/openapi.json", f"Authorization: Bearer {key} {key}"),
        ("/openapi.json", "Authorization: Basic ====", f"User-Agent: {key}"),
        ("/openapi.json", "Authorization: Bearer"),
    ):
        answer = get(web, path, *lines, source="127.0.0.11")
        assert status(answer) in {307, 401, 404, 429}, (path, lines)
        assert status(answer) != 307 or "/jobs?" in headers(answer)["location"]
    assert f"?key={key}" not in log()
    assert key not in log()
    assert "GET /openapi.json HTTP/1.1" in log()


def test_two_authorizations_are_refused(web: str, key: str) -> None:
    right, wrong = f"Authorization: Bearer {key}", "Authorization: Bearer seg_other"
    for lines in ((right, wrong), (wrong, right), (right, right)):
        assert status(get(web, "/openapi.json", *lines)) == 400


def test_the_log_has_one_line_for_each_request(web: str, log: Callable[[], str]) -> None:
    before = len(log().splitlines())
    for path in ("/%0aINFO:%20forged", "/%0d%0aERROR%20forged", "/%1b[2Jforged", "/%e2%80%a8forged", "/a%3Fb=c"):
        get(web, path, "User-Agent: a\tforged", "Referer: forged")
    wait_until(lambda: len(log().splitlines()) >= before + 5, 10, "the requests are in the log")
    lines = log().splitlines()[before:]
    assert all(
        re.match(r"\S+Z INFO uvicorn\.access: 127\.0\.0\.1:\d+ - \"[A-Z]+ /", line)
        for line in lines
        if "forged" in line
    )
    assert "\x1b" not in "".join(lines)


SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        f"{POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: +5\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length : 5\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: -1\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: 0x5\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: xchunked\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding : chunked\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding:\x0bchunked\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n{SMUGGLED}",
        "GET /jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET /jobs HTTP/1.1\r\n\r\n",
        "GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        "GET /jobs HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        "GET /jobs HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET  /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /jobs\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /jöbs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_requests_that_can_be_read_in_two_ways_are_refused(web: str, request_: str) -> None:
    answer = raw(web, request_)
    assert status(answer) in {400, 501, 505}
    assert answer.count("HTTP/1.1 ") == 1, "nothing behind it is taken for a request"


def test_invalid_chunks_are_refused(web: str, key: str) -> None:
    head = f"{POST}Authorization: Bearer {key}\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunk in (
        "xyz\r\n",
        "-5\r\nabc",
        "FFFFFFFFFFFFFFFFFFFFFFFF\r\n",
        "5\r\nabcdefgh",
        "0" * 100_000,
        "1;" + "a" * 100_000,
    ):
        answer = raw(web, head + chunk)
        assert status(answer) in {400, 408}, chunk[:20]


@pytest.mark.parametrize(
    "lines",
    [
        [f"X-{n}: {'x' * 90}" for n in range(2000)],
        ["X: " + "x" * 1_000_000],
        [f"Cookie: {'a=b;' * 100_000}"],
        ["Authorization: Bearer " + "seg_" * 50_000],
        ["x" * 1_000_000 + ": 1"],
    ],
)
def test_huge_heads_are_refused(web: str, lines: list[str]) -> None:
    assert status(get(web, "/jobs", *lines)) in {0, 400, 431}
    assert status(get(web, "/" + "a" * 1_000_000)) in {0, 400, 414}


@pytest.mark.parametrize(
    "method", ["OPTIONS", "TRACE", "CONNECT", "PUT", "DELETE", "PATCH", "PROPFIND", "get", "X" * 5000]
)
def test_unsupported_methods_are_refused(web: str, key: str, method: str) -> None:
    answer = get(web, "/openapi.json", f"Authorization: Bearer {key}", method=method)
    assert status(answer) in {400, 405}
    assert key not in answer, "TRACE would repeat it"
    assert status(get(web, "/healthz", method="HEAD")) == 200


def test_cross_origin_requests_are_not_allowed(web: str, key: str) -> None:
    answer = get(web, "/openapi.json", f"Authorization: Bearer {key}", "Origin: https://evil.example")
    assert not [name for name in headers(answer) if name.startswith("access-control")]
    assert status(get(web, "/v1/events", "Origin: https://evil.example", method="OPTIONS")) == 405


def test_protocol_upgrades_are_refused(web: str) -> None:
    for what in ("websocket", "h2c", "TLS/1.0"):
        answer = get(
            web, "/jobs", "Upgrade: " + what, "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13"
        )
        assert status(answer) in {400, 401}


def test_a_body_that_is_too_large_is_refused_by_its_headers(web: str) -> None:
    head = f"{POST}Content-Length: {10 * 2**20 + 1}\r\n"
    for expect in ("", "Expect: 100-continue\r\n"):
        with connection(web) as client:
            client.sendall(f"{head}{expect}\r\n".encode())
            answer = client.recv(65536).decode()  # no byte of the body was sent
        assert (status(answer), headers(answer)["connection"]) == (413, "close")


def test_the_answer_to_a_refused_body_can_be_read_after_sending_it(web: str) -> None:
    body = b" " * (30 * 2**20)
    assert status(post(web, body)) == 413
    refused = raw(
        web, b"POST /v1/events HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 9999999\r\n\r\n" + body[:9999999]
    )
    assert status(refused) == 421


def test_decompression_bombs_are_refused(web: str, key: str) -> None:
    bomb = gzip.compress(bytes(100 * 2**20))
    nested = gzip.compress(bomb)
    bearer = f"Authorization: Bearer {key}"
    assert status(post(web, bomb, bearer, "Content-Encoding: gzip")) == 413
    assert status(post(web, nested, bearer, "Content-Encoding: gzip, gzip")) == 413
    assert status(post(web, bomb, bearer, "Content-Encoding: " + ", ".join(["gzip"] * 50))) == 415
    assert status(post(web, bomb, "Content-Encoding: gzip")) == 401


def closes_within(client: socket.socket, seconds: float) -> bytes:
    """Return what comes until the server closes, which it must do in time."""
    client.settimeout(seconds)
    return answer_of(client)


def trickle(client: socket.socket, piece: bytes, seconds: float) -> bool:
    """Send a piece again and again; return whether the server closes within so many seconds."""
    end = time.monotonic() + seconds
    client.settimeout(0.1)
    while time.monotonic() < end:
        try:
            client.sendall(piece)
            while client.recv(4096):
                pass
        except TimeoutError:
            continue
        except OSError:
            pass
        return True
    return False


def test_slow_heads_are_closed(web: str) -> None:
    with connection(web) as silent, connection(web) as slow, connection(web) as second:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /")
        assert trickle(slow, b"X", HEAD_SECONDS + 20)
        assert b"408" in closes_within(silent, HEAD_SECONDS + 20)
        assert b"200 OK" in closes_within(second, HEAD_SECONDS + 20)


def test_slow_bodies_are_closed_with_a_key_and_without(web: str, key: str) -> None:
    for line in (f"Authorization: Bearer {key}\r\n", ""):
        head = f"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n{line}"
        with connection(web) as slow, connection(web) as endless, connection(web) as expecting:
            slow.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode())
            endless.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            expecting.sendall(f"{head}Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode())
            assert trickle(slow, b" ", BODY_SECONDS + 20)
            assert trickle(endless, b"1\r\n \r\n", BODY_SECONDS + 20)
            closes_within(expecting, BODY_SECONDS + 20)


def test_too_many_idle_connections_do_not_block_others(web: str) -> None:
    with ExitStack() as stack:
        idle = []
        for _ in range(3 * CONNECTIONS):
            idle.append(stack.enter_context(connection(web)))
            idle[-1].sendall(b"GET / HT")
        assert is_well(web)
        closed = 0
        for client in idle[: 2 * CONNECTIONS - 1]:
            client.settimeout(20)
            closed += client_is_closed(client)
        assert closed == 2 * CONNECTIONS - 1, "those that have waited longest make room"


def client_is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1024) is not None
    except ConnectionResetError:
        return True


def test_aborted_connections_are_released(web: str) -> None:
    for _ in range(300):
        with connection(web) as client:
            client.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")

    def is_answered() -> bool:
        try:
            return is_well(web)
        except urllib.error.HTTPError as error:  # of the burst, not all ends have been read yet
            assert error.code == 503
            return False

    wait_until(is_answered, 20, "the connections are released")


def test_tls_on_a_plain_port_is_refused(web: str) -> None:
    context = ssl._create_unverified_context()
    with connection(web) as client, pytest.raises(OSError):
        context.wrap_socket(client)


def test_pipelined_requests_are_answered_in_turn(web: str) -> None:
    health = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(web, health * 50 + last)
    assert re.findall(r"HTTP/1.1 (\d+)", answer) == ["200"] * 50 + ["404"]


@pytest.mark.parametrize("name", SHAPES)
def test_hostile_bodies_leave_the_server_answering(web: str, key: str, name: str) -> None:
    body = SHAPES[name](1_000_000)
    with ThreadPoolExecutor() as pool:
        posting = [pool.submit(post, web, body, f"Authorization: Bearer {key}") for _ in range(3)]
        while not all(future.done() for future in posting):
            assert is_well(web)
    answers = {status(future.result()) for future in posting}
    assert answers <= {202, 400, 413, 429}, answers
    assert answers != {429}, "a post that has nothing to wait for is admitted"
    for answer in posting:
        text = answer.result().partition("\r\n\r\n")[2]
        assert len(text) < 100_000
        json.loads(text)


def test_the_log_has_no_traceback(log: Callable[[], str]) -> None:
    assert "Traceback" not in log()
    assert not [line for line in log().splitlines() if line.startswith("ERROR")]
