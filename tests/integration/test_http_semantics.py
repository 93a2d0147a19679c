"""What any HTTP client may rely on: HEAD, OPTIONS, methods that are not there, compression and conditional requests."""

from __future__ import annotations

import base64
import gzip
import socket
from urllib.parse import urlsplit

import pytest

from segadmin.storage.records import Scope
from tests.api import Api

PAGE, ANSWER = "/segments", "/v1/snapshots/1"


@pytest.mark.parametrize("path", [PAGE, ANSWER, "/", "/jobs/1", "/v1/jobs", "/openapi.json", "/healthz"])
def test_head_is_get_without_the_body(api: Api, path: str) -> None:
    got, head = api("GET", path), api("HEAD", path)
    assert got.status_code == head.status_code == 200
    assert head.content == b""
    varying = {"x-request-id", "date", "content-length"}
    assert {*head.headers} - varying == {*got.headers} - varying
    assert head.headers["content-type"] == got.headers["content-type"]


def test_head_of_a_stream_ends_and_the_connection_stays_usable(api: Api) -> None:
    address, key = urlsplit(api.url), api.keys[Scope.ADMIN]
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        for path in ("/v1/jobs/1/events", PAGE):
            lines = [f"HEAD {path} HTTP/1.1", f"Host: {address.netloc}", f"Authorization: Bearer {key}", "", ""]
            connection.sendall("\r\n".join(lines).encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(b"\r\n\r\n")


def test_head_needs_the_same_key(api: Api) -> None:
    assert api("HEAD", ANSWER, None).status_code == 401
    assert api("HEAD", "/v1/keys", Scope.VIEWER).status_code == 403
    assert api("HEAD", "/v1/snapshots/77").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", ANSWER, "GET"),
        ("OPTIONS", ANSWER, "GET"),
        ("DELETE", PAGE, "GET"),
        ("TRACE", PAGE, "GET"),
        ("GET", "/v1/exports", "POST"),
    ],
)
def test_other_methods_are_refused_with_those_that_are_there(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api(method, path)
    assert answer.status_code == 405
    assert allowed in answer.headers["allow"].split(", ")


def test_who_has_an_answer_gets_304(api: Api) -> None:
    first = api("GET", ANSWER)
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', "*", tag.removeprefix("W/")):
        again = api("GET", ANSWER, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = api("GET", ANSWER, headers={"If-None-Match": '"other"'})
    assert changed.json() == first.json()
    assert api("GET", "/v1/snapshots/77", headers={"If-None-Match": "*"}).status_code == 404
    assert api("GET", "/v1/models/1").headers["etag"].startswith('"champion'), "a tag that means something stays"


def test_compression_is_no_oracle(api: Api) -> None:
    """Another site can let a browser request a page; it must not learn from the length what else is on the page."""
    password = base64.b64encode(f"me:{api.keys[Scope.ADMIN]}".encode()).decode()
    asks = {"Accept-Encoding": "gzip", "Authorization": f"Basic {password}"}
    for site, compressed in (("cross-site", False), ("same-site", False), ("same-origin", True), ("none", True)):
        answer = api("GET", PAGE, None, headers={**asks, "Sec-Fetch-Site": site})
        assert (answer.headers.get("content-encoding") == "gzip") is compressed, site
        assert "Segments" in answer.text
    unknown = api("GET", PAGE, None, headers=asks)
    assert "content-encoding" not in unknown.headers, "a browser that does not say which site asks"
    script = api("GET", PAGE, headers={"Accept-Encoding": "gzip"})
    assert script.headers["content-encoding"] == "gzip", "no browser sends a key as Bearer by itself"
    assert "accept-encoding" in script.headers["vary"].lower()
    plain = api("GET", PAGE, headers={"Accept-Encoding": "identity"})
    assert len(gzip.compress(plain.content)) < len(plain.content)
    assert "content-encoding" not in plain.headers
