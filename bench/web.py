"""How quick the web application is with a million users: pages, API, submissions under retries, and many jobs.

A home is written by :mod:`bench.web_home` and served by the real server, once for each number of its processes that
``--processes`` names. Requests arrive at fixed times, whether the ones before were answered or not, and latency counts
from the time at which a request was due. The parts:

- ``reads``: requests a second, pages and API mixed as :data:`bench.web_reads.MIX` says, for some seconds; with the
  cores that the server, the client and other programs used;
- ``sizes``: kilobytes of each page with all it loads, as a browser receives it, with and without charts;
- ``paint``: first contentful paint of the overview, the segments and a user in Chromium, three times each, cold;
- ``submissions``: jobs enqueued by clients who give up on one answer in three and send it again: each is there once;
- ``jobs``: the first pages of the list and a filter at a million jobs, and 100,000 jobs cancelled by one filter, of
  which some are over: each of those is listed as a failure;
- ``pages``: every page that links lead to, in Chromium, after a year's data are added (:mod:`bench.web_data`): time,
  bytes and memory, worst first; findings of axe and the console; and pages deep in the API's lists beside the first;
- ``access``: the size of the authorization matrix, which the tests check.

The last line is JSON.

    python -m bench.web [--users 1000000] [--rate 200] [--seconds 60] [--jobs 1000000] [--only reads,jobs] [--home DIR]
                        [--processes 1,2]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.web_home import add_jobs, large_home, some_users
from bench.web_reads import charted, paths_of, reads, with_all_it_loads
from segadmin.events.keys import show_key
from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.storage.records import JobState, Scope

#: Submissions, and the share of their answers that clients do not wait for.
SUBMISSIONS, LOST = 1_000, 1 / 3
CANCELLED, OVER = 100_000, 500
GOALS = {
    "reads_p99_ms": 100,
    "page_kb": 80,
    "charts_kb": 300,
    "first_paint_ms": 1_000,
    "cancel_seconds": 5,
    "jobs_p99_ms": 200,
    "page_ms": 1_000,
    "page_mb": 100,
}


@dataclass(frozen=True)
class Site:
    """The server that is measured."""

    settings: Settings
    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """Return what every request has."""
        return {"Authorization": f"Bearer {self.key}", "Accept-Encoding": "gzip"}

    def client(self, **options: Any) -> httpx.Client:
        """Return a client of the server."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=120, **options)


def measure_reads(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    """Return latencies of mixed reads at a steady rate."""
    users = [show_key(key) for key in some_users(site.settings, 500)]
    return reads(site.url, site.headers, users, options.rate, options.seconds)


def measure_sizes(site: Site, _options: argparse.Namespace) -> dict[str, Any]:
    """Return the kilobytes of each page with all that it loads."""
    user = show_key(next(some_users(site.settings, 1)))
    with site.client() as client:
        kilobytes = {path: with_all_it_loads(client, path) for path in paths_of(user)}
    plain = {path: size for path, size in kilobytes.items() if not charted(path)}
    charts = {path: size for path, size in kilobytes.items() if charted(path)}
    largest = {"largest_kb": max(plain.values()), "largest_with_charts_kb": max(charts.values())}
    return {**largest, "kb": kilobytes}


def measure_paint(site: Site, _options: argparse.Namespace) -> dict[str, Any]:
    """Return milliseconds until the first contentful paint, the slowest of three new browser contexts."""
    from playwright.sync_api import sync_playwright

    user = show_key(next(some_users(site.settings, 1)))
    painted: dict[str, float] = {}
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for path in ("/", "/segments", f"/users/{user}"):
            times = []
            for _ in range(3):
                context = browser.new_context()
                page = context.new_page()
                page.goto(site.url)
                page.locator("#key").fill(site.key)
                page.locator("button[type=submit]").click()
                page.wait_for_url(f"{site.url}/")
                page.goto(site.url + path)
                while (painted_at := page.evaluate(paint)) is None:  # waiting in the page itself would need eval()
                    page.wait_for_timeout(20)
                times.append(float(painted_at))
                context.close()
            painted[path if "users" not in path else "/users/KEY"] = round(max(times))
        browser.close()
    return {"largest_ms": max(painted.values()), "ms": painted}


def measure_submissions(site: Site, _options: argparse.Namespace) -> dict[str, Any]:
    """Return how many jobs there are after clients have asked for so many, and have sent a third again unanswered."""
    random, repeated = np.random.default_rng(5), []

    def submit(number: int) -> int:
        body = {"kind": "compact", "options": {}}
        headers = {"Idempotency-Key": f"submission-{number}"}
        impatient = random.random() < LOST
        with site.client() as client:
            if impatient:
                repeated.append(number)
                with suppress(httpx.TransportError):
                    client.post("/v1/jobs", json=body, headers=headers, timeout=0.004)
            while True:
                answer = client.post("/v1/jobs", json=body, headers=headers)
                if answer.status_code in {200, 201}:
                    return int(answer.json()["job"])

    began = time.perf_counter()
    with ThreadPoolExecutor(16) as threads:
        jobs = list(threads.map(submit, range(SUBMISSIONS)))
    seconds = time.perf_counter() - began
    stored = _count(site, "idempotency_key LIKE 'submission-%'")
    return {
        "asked_for": SUBMISSIONS,
        "sent_again": len(repeated),
        "jobs": stored,
        "each_once": stored == len(set(jobs)) == SUBMISSIONS,
        "per_second": round(SUBMISSIONS / seconds, 1),
    }


def measure_jobs(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds to cancel many jobs by one filter, and latencies of lists among a million jobs."""
    add_jobs(site.settings, options.jobs - CANCELLED - OVER, JobState.SUCCEEDED)
    add_jobs(site.settings, OVER, JobState.FAILED, "bench")
    add_jobs(site.settings, CANCELLED, JobState.QUEUED, "bench")
    listed = ["/jobs", f"/jobs?before={options.jobs // 2}", "/v1/jobs?state=failed", "/v1/jobs?kind=bench&state=queued"]
    with site.client() as client:
        latencies = {path: _latencies(lambda path=path: client.get(path).raise_for_status(), 100) for path in listed}
        body = {"kinds": ["bench"], "states": ["queued", "failed"]}
        began = time.perf_counter()
        answer = client.post("/v1/jobs/cancel", json=body).raise_for_status().json()
        seconds = time.perf_counter() - began
    everything = [latency for each in latencies.values() for latency in each]
    return {
        "jobs": _count(site, "1 = 1"),
        "list_p99_ms": round(float(np.percentile(everything, 99)), 1),
        "list_p50_ms": {path: round(float(np.percentile(each, 50)), 1) for path, each in latencies.items()},
        "cancelled": answer["done"],
        "failures": answer["failed"],
        "failures_listed": len(answer["failures"]),
        "cancel_seconds": round(seconds, 2),
        "still_open": _count(site, "kind = 'bench' AND state IN ('queued', 'running')"),
    }


def measure_pages(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    """Return what each page takes, the slowest first, and pages deep in the lists of the API."""
    from bench.web_data import add_year
    from bench.web_pages import crawl, deep_pages

    add_year(site.settings, options.jobs)
    user = show_key(next(some_users(site.settings, 1)))
    visits = []
    for visit in crawl(site.url, site.key, ["/", f"/users/{user}?text=1", "/users?user=customer-900001"]):
        visits.append(asdict(visit))
        print(json.dumps(visits[-1]), flush=True)
    slowest = sorted(visits, key=lambda visit: -max(visit["first_byte_ms"], visit["again_ms"] or 0))
    with site.client() as client:
        deep = deep_pages(client)
    return {
        "pages": len(visits),
        "over_a_second": sum(visit["first_byte_ms"] > GOALS["page_ms"] for visit in visits),
        "over_100_mb": sum(visit["grown_mb"] > GOALS["page_mb"] for visit in visits),
        "problems": {visit["path"]: visit["problems"] for visit in visits if visit["problems"]},
        "first_and_deep_ms": deep,
        "slowest": slowest,
    }


def measure_access(_site: Site, _options: argparse.Namespace) -> dict[str, Any]:
    """Return the number of cases of the authorization matrix: every route with a key of every scope, and without."""
    from tests.integration.test_v1_access import TABLE

    return {"routes": len(TABLE), "cases": len(TABLE) * (len(Scope) + 1)}


def _latencies(call: Callable[[], object], times: int) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def _count(site: Site, condition: str) -> int:
    from sqlalchemy import text

    from segadmin.storage.database import reading

    with reading(site.settings) as session:
        return int(session.connection().execute(text(f"SELECT COUNT(*) FROM job WHERE {condition}")).scalar_one())


PARTS: dict[str, Callable[[Site, argparse.Namespace], dict[str, Any]]] = {
    "reads": measure_reads,
    "sizes": measure_sizes,
    "paint": measure_paint,
    "submissions": measure_submissions,
    "jobs": measure_jobs,
    "pages": measure_pages,
    "access": measure_access,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--processes", default="1", help="of the server: one number, or several one after the other")
    parser.add_argument("--home", type=Path, help="an empty or earlier folder for the home, which is kept")
    options = parser.parse_args()
    with ExitStack() as stack:
        home = options.home or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        began = time.perf_counter()
        settings = Settings(home=home) if home.exists() else large_home(home, options.users)
        os.environ["SEGADMIN_HOME"] = str(home)
        print(f"home: {time.perf_counter() - began:.0f} s", flush=True)
        key = api_keys.create(settings, f"bench {time.time():.0f}", Scope.ADMIN)
        from tests.servers import web_server

        results: dict[str, Any] = {"bench": "web", "users": options.users, "goals": GOALS, "processes": {}}
        for number in options.processes.split(","):
            limits = {"SEGADMIN_WEB_REQUESTS_PER_SECOND": "0", "SEGADMIN_WEB_PROCESSES": number}
            with web_server(settings, **limits) as url:
                measured = results["processes"][number] = {}
                for part in options.only.split(","):
                    measured[part] = PARTS[part](Site(settings, url, key), options)
                    print(number, part, json.dumps(measured[part]), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
