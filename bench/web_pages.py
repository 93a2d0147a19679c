"""Every page of the web application, as a browser finds them by following links, and pages deep in the API's lists.

Of pages that differ in numbers, keys and names alone, one is opened: of each route, and of each set of parameters. A
page is opened twice, at the width of a desktop and at that of a telephone, where axe checks it too.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urldefrag, urlsplit

import httpx
import numpy as np
import psutil
from playwright.sync_api import Browser, Error, Page, sync_playwright
from tests.browser.readers import READERS, assert_accessible, assert_fits, reader

from bench.web_data import SNAPSHOTS
from bench.web_home import BUCKETS

#: Links that do not lead to a page: files, and what changes what the reader sees.
_NO_PAGE = re.compile("/(static|preferences|v1|openapi.json|logout)|.*/file$")
#: The parts of a path that are generalized.
_PART = re.compile("[0-9a-f]{16}|[0-9]+")
_BYTES = "performance.getEntries().reduce((sum, each) => sum + (each.transferSize || 0), 0)"
_FIRST_BYTE = "(([page]) => page.responseStart - page.requestStart)(performance.getEntriesByType('navigation'))"
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
_LINKS = "[...document.querySelectorAll('a[href]')].map(link => link.href)"
#: Milliseconds for a page to answer, and for it to be painted; seconds for a file.
_ANSWER, _PAINTED, _DOWNLOAD = 120_000, 2_000, 10
#: Lists of the API, and the position of a page near their end, in the home of :mod:`bench.web_data`.
LISTS: dict[str, list[int]] = {
    "/v1/jobs": [500],
    "/v1/audit": [500],
    "/v1/imports": [500],
    "/v1/snapshots": [100],
    "/v1/corrections": [500],
    "/v1/merges": [100],
    f"/v1/snapshots/{SNAPSHOTS}/members": [BUCKETS - 1, 0],
    f"/v1/snapshots/{SNAPSHOTS}/diff/users?before=low&after=low": [2**62],
}


@dataclass
class Visit:
    """What one page took."""

    path: str
    status: int
    first_byte_ms: float = 0  #: of the first visit
    cpu_ms: float = 0  #: processor time of the server for it, with all it loads: other programs do not change it
    again_ms: float | None = None  #: to the first byte of the second visit; ``None``: a file, not a page
    paint_ms: float | None = None
    bytes: int = 0  #: with all it loads, as they came over the network
    grown_mb: float = 0  #: the most memory that the server took meanwhile, less what it had before
    problems: list[str] = field(default_factory=list)  #: of the console, axe, and pages wider than the window


def crawl(url: str, key: str, starts: Sequence[str]) -> Iterator[Visit]:
    """Visit the pages that links lead to, and yield what each took.

    Args:
        url: of the server, which is a child of this process.
        key: of an administrator.
        starts: paths to begin with: the first page, and those that no link leads to.
    """
    server = _Server([child.pid for child in psutil.Process().children(recursive=True)])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield from _visits(browser, url, key, starts, server)
        browser.close()


def deep_pages(client: httpx.Client) -> dict[str, tuple[float, float]]:
    """Return the milliseconds of the first page of each list and of one near its end, medians of five."""
    return {
        path: (_milliseconds(client, path, None), _milliseconds(client, path, position))
        for path, position in LISTS.items()
    }


def _milliseconds(client: httpx.Client, path: str, position: list[int] | None) -> float:
    cursor = {} if position is None else {"cursor": urlsafe_b64encode(json.dumps(position).encode()).decode()}
    address = httpx.URL(path).copy_merge_params(cursor)
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        assert client.get(address).raise_for_status().json()["items"], path
        taken.append(1000 * (time.perf_counter() - began))
    return round(float(np.median(taken)), 1)


def _visits(browser: Browser, url: str, key: str, starts: Sequence[str], server: _Server) -> Iterator[Visit]:
    with (
        reader(browser, url, key, **READERS["English"]) as (page, errors),
        reader(browser, url, key, bypass_csp=True, **READERS["telephone"]) as (small, _),
    ):
        page.set_default_timeout(_ANSWER)
        small.set_default_timeout(_ANSWER)
        waiting, known = list(starts), set(map(_form, starts))
        while waiting:
            visit = _visit(page, url, waiting.pop(0), server)
            visit.problems += errors
            errors.clear()
            if visit.again_ms is not None:
                _check(small, url, visit)
                for path in filter(_is_page, _paths(page, url)):
                    if _form(path) not in known:
                        known.add(_form(path))
                        waiting.append(path)
            yield visit


def _visit(page: Page, url: str, path: str, server: _Server) -> Visit:
    """Open a page, or read the file that a link leads to."""
    visit = Visit(path, 0)
    with server.watched(visit):
        try:
            answer = page.goto(url + path)
        except Error as error:
            if "Download is starting" not in error.message:
                visit.problems.append(error.message.splitlines()[0])
                return visit
        else:
            visit.status, visit.again_ms = answer.status if answer else 0, 0
            page.wait_for_load_state("networkidle")
    if visit.again_ms is None:
        with server.watched(visit):
            _download(page, url, visit)
        return visit
    deadline = time.monotonic() + _PAINTED / 1000
    while (painted := page.evaluate(_PAINT)) is None and time.monotonic() < deadline:
        page.wait_for_timeout(20)
    visit.paint_ms = painted and round(painted)
    visit.first_byte_ms, visit.bytes = round(page.evaluate(_FIRST_BYTE)), page.evaluate(_BYTES)
    if visit.status != 200:
        visit.problems.append(f"status {visit.status}")
    return visit


def _download(page: Page, url: str, visit: Visit) -> None:
    cookies = {each.get("name", ""): each.get("value", "") for each in page.context.cookies()}
    began = time.perf_counter()
    with httpx.stream("GET", url + visit.path, cookies=cookies, timeout=_ANSWER / 1000) as answer:
        visit.status, visit.first_byte_ms = answer.status_code, round(1000 * (time.perf_counter() - began))
        for chunk in answer.iter_raw():
            visit.bytes += len(chunk)
            if time.perf_counter() - began > _DOWNLOAD:
                visit.problems.append(f"goes on after {_DOWNLOAD} s")
                break


def _check(page: Page, url: str, visit: Visit) -> None:
    page.goto(url + visit.path)
    visit.again_ms = round(page.evaluate(_FIRST_BYTE))
    page.wait_for_load_state("networkidle")
    for check in (assert_fits, assert_accessible):
        try:
            check(page)
        except AssertionError as error:
            visit.problems.append(str(error).splitlines()[0])


def _paths(page: Page, url: str) -> Iterator[str]:
    for link in page.evaluate(_LINKS):
        if link.startswith(url):
            yield urldefrag(link.removeprefix(url)).url


def _is_page(path: str) -> bool:
    """Whether a page is opened: the table of a page as a file is one only of the page without filters."""
    names = {name for name, _ in parse_qsl(urlsplit(path).query)}
    return not _NO_PAGE.match(path) and ("csv" not in names or len(names) == 1)


def _form(path: str) -> tuple[str, ...]:
    """Return what pages have in common of which one is opened."""
    address = urlsplit(path)
    parts = [_PART.sub("*", part) for part in address.path.split("/")]
    if parts[1:2] == ["segments"] and len(parts) > 2:
        parts[2:] = ["*"]
    return ("/".join(parts), *sorted({name for name, _ in parse_qsl(address.query)}))


class _Server:
    """The processes of the server."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids

    @contextmanager
    def watched(self, visit: Visit) -> Iterator[None]:
        """Note processor time and memory that are taken meanwhile: Linux keeps the most since it was told to."""
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        seconds, kilobytes = self._seconds(), self._kilobytes()
        yield
        visit.cpu_ms = round(1000 * (self._seconds() - seconds))
        visit.grown_mb = round((self._kilobytes() - kilobytes) / 1000, 1)

    def _seconds(self) -> float:
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self._pids)

    def _kilobytes(self) -> int:
        statuses = (Path(f"/proc/{pid}/status").read_text() for pid in self._pids)
        return sum(int(most) for status in statuses for most in re.findall(r"VmHWM:\s+(\d+)", status))
