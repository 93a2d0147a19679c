"""What people see in a browser: jobs with their curves, models with their cards, and who may look."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from html.parser import HTMLParser

from sqlalchemy import inspect

from segadmin.jobs import control
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin_api.dashboard.jobs import page, search_of
from tests.conftest import Cli
from tests.planted import LABELS, planted_users, through_the_engine
from tests.servers import web_server

SITE = ("/segments", f"/segments/{LABELS}/low", "/users", "/snapshots", "/snapshots/1", "/data", "/schedules", "/audit")
SITE += ("/data/upload", "/data/profile", "/data/quarantine", "/data/labels", "/data/merges", "/data/erase")


class _Page(HTMLParser):
    """The words of a page, and where its links go."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.links, self.refreshes = "", set[str](), False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "a":
            self.links.add(facts["href"] or "")
        assert tag != "script" or (facts["src"] or "").startswith("/static/"), "our own files alone"
        self.refreshes |= facts.get("http-equiv") == "refresh"

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "


def get(url: str, key: str = "", accept: str = "text/html") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    if key:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, headers, html = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, headers, html = error.code, error.headers, error.read().decode()
    if status == 401:
        assert headers["WWW-Authenticate"].startswith("Basic"), "a browser asks for a password"
    if headers["Content-Type"].startswith("text/html"):
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    return status, html


def test_a_browser_sees_jobs_curves_and_cards(shop: Settings, cli: Cli) -> None:
    options = {"backbone": "tabular", "backbone_options": {"rounds": "30", "min_users": "5"}, "labels": LABELS}
    checked = check_request(shop, "retrain", {**options, "baselines": ["tabular"], "margin": -1})
    job = through_the_engine(shop, "retrain", checked)
    odd = {"textualizer": "<b>odd</b>", "tracker_options": {"mlflow.uri": "http://bob:s3cret@mlflow"}}
    waiting = enqueue(shop, lambda _bells: None, "retrain", {**checked, **odd}).job.id
    key = cli("keys", "create", "me", "--pages").stdout.split()[0]
    with web_server(shop) as url:
        shops = cli("keys", "create", "shop").stdout.split()[0]  # it sends events, and is in other hands
        for path in ("/", "/jobs", f"/jobs/{job}", "/models", "/models/1", "/drift"):
            assert [get(url + path, wrong_key)[0] for wrong_key in ("seg_guess", shops)] == [401] * 2
            assert get(url + path, accept="*/*")[0] == 401
            assert 'name="key"' in get(url + path)[1], "browsers are led to the login page"
        assert "no such key" in get(f"{url}/jobs", "seg_guess")[1]
        assert "for events, and not for pages" in get(f"{url}/jobs", shops)[1]
        listed = _Page(get(f"{url}/jobs", key)[1])
        assert {f"/jobs/{job}", f"/jobs/{waiting}", "/models", "/drift"} <= listed.links
        assert "reference" in _Page(get(f"{url}/drift", key)[1]).words
        assert "<b>odd</b>" in listed.words
        assert listed.refreshes, "a job is not over"
        older = _Page(get(f"{url}/jobs?before={waiting}", key)[1])
        assert f"/jobs/{job}" in older.links
        assert f"/jobs/{waiting}" not in older.links
        assert "/jobs" in older.links, "back to the newest"
        assert "No older jobs" in _Page(get(f"{url}/jobs?before=1", key)[1]).words
        assert get(f"{url}/jobs?before=nonsense", key)[0] == 404

        html = get(f"{url}/jobs/{job}", key)[1]
        seen = _Page(html)
        assert "is champion" in seen.words
        assert not seen.refreshes
        assert "finetune · loss" in seen.words
        curves = {step.stage: step.curve for step in control.view(shop, job).steps if step.curve}
        losses = [figures["validation_log_loss"] for _, figures in curves["finetune"]]
        assert f"best {min(losses):.4f} at {1 + losses.index(min(losses))}, last {losses[-1]:.4f}" in seen.words
        assert html.count("<title>validation log-loss ") == sum(map(len, curves.values())), "a dot for each point"
        [card] = [link for link in seen.links if link.startswith("/models/")]
        seen = _Page(get(f"{url}/jobs/{waiting}", key)[1])
        assert seen.refreshes
        assert "http://bob:***@mlflow" in seen.words
        assert "s3cret" not in seen.words

        assert card in _Page(get(f"{url}/models", key)[1]).links
        model = _Page(get(url + card, key)[1]).words
        assert all(words in model for words in ("Calibration", "Confusion matrix", "finetune · loss"))
        status, champion = get(f"{url}/models/champion", key)
        assert get(url + card, key) == (status, champion.replace("/models/champion", card)), "but for links to itself"
        for missing, message in (
            ("/jobs/999", "job 999"),
            ("/models/999", "segadmin models list"),
            ("/jobs/first", "nothing at /jobs/first"),
            (f"/models/{10**20}", "nothing at /models"),
        ):
            status, html = get(url + missing, key)
            assert status == 404
            assert message in _Page(html).words
        status, problem = get(f"{url}/jobs/999", key, "application/json")
        assert (status, json.loads(problem)["status"]) == (404, 404)


def test_the_pages_of_the_site(shop: Settings, cli: Cli) -> None:
    key = cli("keys", "create", "me", "--role", "admin").stdout.split()[0]
    with web_server(shop) as url:
        for path in SITE:
            assert (get(url + path, accept="*/*")[0], get(url + path, key)[0]) == (401, 200), path
            assert f'name="next" value="{path}"' in get(url + path)[1], "and from there to the page"
        user = planted_users(shop)["user"][0]
        found = _Page(get(f"{url}/users?user={user}", key)[1]).words
        assert "low" in found and "Segments over time" in found
        assert "bought" in _Page(get(f"{url}/users/{user}?text=1", key)[1]).words
        status, html = get(f"{url}/users?user=nobody", key)
        assert status == 404
        assert "There is no user 'nobody'" in _Page(html).words
        assert "users.show" in _Page(get(f"{url}/audit", key)[1]).words
        missing_segments = ("/segments/spend3/hihg", "/segments/nothing/high")
        for missing in ("/snapshots/99", "/snapshots/1/1", "/users/nobody", *missing_segments):
            assert 400 <= get(url + missing, key)[0] < 500, missing
        assert "Did you mean 'high'?" in get(f"{url}/segments/spend3/hihg", key)[1].replace("&#39;", "'")


def test_the_page_of_a_waiting_search_creates_no_tables(shop: Settings) -> None:
    job = enqueue(shop, lambda _bells: None, "tune", check_request(shop, "tune", {"backbone": "tabular"})).job.id
    view = control.view(shop, job or 0)
    assert "No trial has finished yet" in page(view, search_of(shop, view.job))
    with transaction(shop) as session:
        assert not inspect(session.connection()).has_table("studies")


def test_the_page_of_a_job_can_be_saved_as_a_file(shop: Settings, cli: Cli) -> None:
    checked = check_request(shop, "retrain", {"backbone": "tabular", "labels": LABELS, "baselines": ["tabular"]})
    job = enqueue(shop, lambda _bells: None, "retrain", checked).job.id
    control.cancel(shop, lambda _bells: None, job or 0)
    kept = shop.root / "job.html"
    assert f"Wrote {kept}" in cli("jobs", "show", str(job), "--out", str(kept)).stdout
    seen = _Page(kept.read_text(encoding="utf-8"))
    assert not seen.links, "a file has no other pages"
    assert not seen.refreshes
    assert f"segadmin jobs retry {job}" in seen.words
    nowhere = cli("jobs", "show", str(job), "--out", str(shop.root / "nowhere" / "job.html"), check=False)
    assert "Name a folder that exists" in nowhere.stderr
