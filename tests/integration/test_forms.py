"""Forms of pages without a browser: what is refused and why, what changed meanwhile, and what a lost session keeps."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html import unescape

import httpx
import pytest

from segadmin.jobs import schedules
from segadmin.models.registry import promote_version
from segadmin.storage import api_keys, audit
from segadmin.storage.database import reading, transaction
from segadmin.storage.records import ApiKey, Job, JobState, ModelState, ModelVersion, Schedule, Scope, utcnow
from tests.api import Api
from tests.planted import LABELS, retrain


class Tab:
    """A browser that has logged in, and sends the forms of its pages."""

    def __init__(self, api: Api, scope: Scope = Scope.ADMIN, language: str = "en") -> None:
        origin = {"Origin": api.url, "Accept": "text/html", "Accept-Language": language}
        self.client = httpx.Client(base_url=api.url, headers=origin, timeout=120, follow_redirects=True)
        self.log_in(api.keys[scope])

    def log_in(self, key: str, **fields: str) -> httpx.Response:
        token = re.findall(r'name="csrf_token" value="([^"]+)"', self.client.get("/login").text)[0]
        return self.client.post("/login", data={"csrf_token": token, "key": key, "next": "/", **fields})

    def fields(self, path: str, action: str) -> dict[str, str]:
        """Return the hidden fields of the form of a page that is sent to ``action``."""
        page = self.client.get(path).text
        [form] = [part for part in page.split("<form ")[1:] if f'action="{action}"' in part.split(">")[0]][:1]
        inputs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form.split("</form>")[0])
        return {name: html.unescape(value) for name, value in inputs}

    def send(self, path: str, action: str, **fields: str) -> httpx.Response:
        """Fill in the form of a page and send it."""
        return self.client.post(action, data={**self.fields(path, action), **fields})


Open = Callable[..., Tab]


@pytest.fixture
def tab_of(api: Api) -> Iterator[Open]:
    """Open tabs, which are closed after the test."""
    with ExitStack() as opened:

        def open_tab(scope: Scope = Scope.ADMIN, language: str = "en") -> Tab:
            tab = Tab(api, scope, language)
            opened.callback(tab.client.close)
            return tab

        yield open_tab


def another_version(api: Api) -> int:
    """Save a copy of version 1 as a challenger, and return its number; no job is changing the champion."""
    api("POST", "/v1/jobs/cancel", json={"states": ["queued", "running"]})
    with transaction(api.settings) as session:
        first = session.get_one(ModelVersion, 1)
        facts = first.model_dump(exclude={"id", "promoted_at"}) | {"state": ModelState.CHALLENGER}
        copy = ModelVersion(**facts)
        session.add(copy)
        session.flush()
        assert copy.id is not None
        return copy.id


def newest(api: Api, action: str) -> audit.Audit:
    return audit.entries(api.settings, action, 1)[0]


def test_a_version_is_promoted_and_rolled_back_with_a_reason(api: Api, tab_of: Open) -> None:
    number, tab = another_version(api), tab_of(Scope.OPERATOR)
    path = f"/models/{number}"
    refused = tab.send(path, f"{path}/promote", reason="  ")
    assert (refused.status_code, "Give a reason" in refused.text) == (422, True)
    done = tab.send(path, f"{path}/promote", reason="campaign in May")
    assert (done.status_code, done.url.path) == (200, path)
    assert f"Version {number} is champion of {LABELS}." in done.text
    entry = newest(api, "models.promote")
    assert (entry.actor, entry.details["reason"]) == ("key the operator", "campaign in May")
    assert "campaign in May" in tab.client.get(path).text, "and the page shows it"
    back = tab.send(path, f"{path}/rollback", reason="complaints")
    assert back.url.path == "/models/1"
    assert newest(api, "models.rollback").details["reason"] == "complaints"


def test_the_second_of_two_tabs_is_told_what_the_first_did(api: Api, tab_of: Open) -> None:
    first, second = another_version(api), another_version(api)
    one, other, chinese = tab_of(), tab_of(Scope.OPERATOR), tab_of(Scope.OPERATOR, "zh-CN")
    seen = other.fields(f"/models/{second}", f"/models/{second}/promote")
    assert one.send(f"/models/{first}", f"/models/{first}/promote", reason="better").status_code == 200
    late = other.client.post(f"/models/{second}/promote", data={**seen, "reason": "mine <b>is</b> better"})
    assert late.status_code == 412
    assert f"key the admin made version {first} champion on" in late.text
    assert "with the reason: better. Decide again." in late.text
    assert "mine &lt;b&gt;is&lt;/b&gt; better" in late.text, "what was written is not lost"
    seen |= chinese.fields(f"/models/{second}", f"/models/{second}/promote") | {"champion": "1"}
    assert "请重新决定" in chinese.client.post(f"/models/{second}/promote", data={**seen, "reason": "x"}).text
    for wrong in ("", "first", "-1", "9" * 20):
        answer = other.client.post(f"/models/{second}/promote", data={**seen, "champion": wrong, "reason": "x"})
        assert answer.status_code in {403, 422}, wrong
    assert api.get("/v1/models/champion")["id"] == first
    promote_version(api.settings, "1", "as the other tests expect")


def test_a_canary_is_stopped_once_and_not_promoted_after(api: Api, tab_of: Open) -> None:
    retrain(api.settings, seed=5, canary="40%").all()
    [canary] = api.get("/v1/models/canary?state=running")["items"]
    path, tab, late = f"/models/canaries/{canary['id']}", tab_of(), tab_of()
    assert f'href="{path}"' in tab.client.get("/models/canaries").text
    assert "estimated AUROC" in tab.client.get(path).text
    seen = late.fields(path, f"{path}/promote")
    stale = late.fields(path, f"{path}/stop")
    assert tab.send("/", f"{path}/stop", reason="complaints").status_code == 200, "from the overview"
    for action, fields in (("promote", seen), ("stop", stale)):
        refused = late.client.post(f"{path}/{action}", data={**fields, "reason": "late"})
        assert refused.status_code == 412
        assert "The canary has ended since this page was shown: stopped, complaints" in refused.text
    assert tab.client.get("/models/canaries/99").status_code == 404


def test_a_schedule_is_made_changed_and_deleted(api: Api, tab_of: Open) -> None:
    tab = tab_of(Scope.OPERATOR)
    wanted = {
        "kind": "refresh",
        "name": "夜间 / nightly",
        "cron": "0 3 * * *",
        "timezone": "Asia/Shanghai",
        "option.labels": LABELS,
    }
    for wrong, message in (
        ({"cron": "0 0 31 2 *"}, "not a cron expression that ever comes"),
        ({"cron": ""}, "When? Give a cron expression"),
        ({"every": "30s"}, "not both"),
        ({"timezone": "Mars"}, "Mars"),
        ({"option.max_age_days": "-1"}, "Input should be greater than 0"),
        ({"option.backbone_options": "labels"}, "is not name=value"),
        ({"option.labels": "none"}, "There is no champion for"),
        ({"kind": "refersh"}, "Did you mean 'refresh'?"),
        ({"name": ""}, "Give a name"),
        ({"freshness": "1y"}, "is not a length of time"),
        ({"option.policy": "retrain"}, "needs a trigger"),
    ):
        answer = tab.send("/schedules/new", "/schedules/save", **{**wanted, **wrong})
        assert answer.status_code == 422, wrong
        assert message in html.unescape(answer.text), wrong
        assert f'value="{wrong.get("name", wanted["name"])}"' in answer.text, "what was written is shown again"
    assert api.get("/v1/schedules")["items"] == []
    more = {"option.policy": "retrain", "option.on_drift": "true"}
    assert tab.send("/schedules/new", "/schedules/save", **wanted, **more).url.path == "/schedules"
    twice = tab.send("/schedules/new", "/schedules/save", **wanted)
    assert (twice.status_code, "There is a schedule of this name already" in twice.text) == (422, True)
    listed = tab.client.get("/schedules").text
    assert "retrain: --on-drift" in listed
    [edit] = re.findall(r'href="(/schedules/edit[^"]+)"', listed)
    form = tab.client.get(edit).text
    assert re.search(r'name="option.on_drift"[^>]* checked', form) and "<option selected>retrain</option>" in form
    other = tab.client.get(f"{edit}&kind=textualize").text
    assert 'name="option.textualizer"' in other and 'name="option.policy"' not in other
    assert tab.client.get("/schedules/new?kind=refersh").status_code == 404
    late = tab.fields(edit, "/schedules/save")
    changed = {**wanted, "kind": "refresh", "cron": "", "every": "1h", "freshness": "90s"}
    assert tab.send(edit, "/schedules/save", **changed).url.path == "/schedules"
    assert "@every 3600s" in tab.client.get("/schedules").text
    [row] = api.get("/v1/schedules")["items"]
    assert row["options"]["time"] == "on-event", "an objective reads only users with events, unless told"
    stale = tab.client.post("/schedules/save", data={**late, **changed})
    assert stale.status_code == 412
    assert "it is now: refresh, @every 3600s Asia/Shanghai" in stale.text
    shown = re.findall(r'href="(/schedules/show[^"]+)"', listed)[0]
    assert "No slot has come yet." in tab.client.get(shown).text
    form = tab.fields("/schedules", "/schedules/run")
    runs = [tab.client.post("/schedules/run", data=form) for _ in range(2)]
    assert "is saved. The broker does not answer now" in runs[0].text
    assert re.findall(r"Job (\d+) \(", runs[1].text) == re.findall(r"Job (\d+) \(", runs[0].text), "a double click"
    again = tab.send("/schedules", "/schedules/run")
    assert re.findall(r"Job (\d+) \(", again.text) != re.findall(r"Job (\d+) \(", runs[0].text)
    assert tab.send("/schedules", "/schedules/pause").status_code == 200
    assert newest(api, "schedules.pause").actor == "key the operator"
    gone = tab.fields("/schedules", "/schedules/delete")
    assert tab.send("/schedules", "/schedules/resume").status_code == 200
    refused = tab.client.post("/schedules/delete", data=gone)
    assert (refused.status_code, "was changed since this page was shown" in refused.text) == (412, True)
    assert tab.send("/schedules", "/schedules/delete").status_code == 200
    assert api.get("/v1/schedules")["items"] == []


def test_only_admins_schedule_what_reads_files(api: Api, tab_of: Open) -> None:
    odd = {"name": "odd", "kind": "ingest", "cron": "0 3 * * *", "option.where": "/etc/passwd"}
    tab = tab_of(Scope.OPERATOR)
    form = tab.client.get("/schedules/new").text
    assert '<option value="retrain">' in form and '<option value="ingest">' not in form
    refused = tab.send("/schedules/new", "/schedules/save", **odd)
    assert (refused.status_code, 'value="odd"' in refused.text) == (403, True)
    assert "A job of the kind ingest needs a key for admin" in refused.text
    sent = {"name": "odd", "kind": "retrain", "cron": "0 3 * * *", "options_of": "retrain", "option.labels": LABELS}
    refused = tab.send("/schedules/new", "/schedules/save", **sent, **{"option.tracker_options": "mlflow.uri=http://x"})
    assert (refused.status_code, "mlflow.uri=http://x</textarea>" in refused.text) == (403, True)
    assert 'id="option-tracker_options-error"' in refused.text


def test_another_kind_of_a_schedule_keeps_what_was_written(api: Api, tab_of: Open) -> None:
    tab = tab_of(Scope.OPERATOR)
    written = {"name": "夜间", "kind": "compact", "cron": "0 5 * * *", "timezone": "Asia/Shanghai"}
    for asked, status in (({"do": "options"}, 200), ({}, 422)):  # the button, and a form that was saved too soon
        shown = tab.send("/schedules/new", "/schedules/save", **written, **asked)
        assert (shown.status_code, 'name="options_of" value="compact"' in shown.text) == (status, True)
        assert all(f'value="{text}"' in shown.text for text in written.values())
        assert ("These are the options of compact" in shown.text) == (status == 422)
    assert api.get("/v1/schedules")["items"] == []
    saved = tab.send("/schedules/new", "/schedules/save", **written, options_of="compact")
    assert saved.url.path == "/schedules"
    assert api("DELETE", "/v1/schedules/夜间").status_code == 204


def test_the_overview_has_a_button_for_each_trouble(api: Api, tab_of: Open) -> None:
    tab = tab_of(Scope.OPERATOR)
    overview = tab.client.get("/").text
    assert "No schedule refreshes the segments of spend3" in overview
    assert "segadmin schedule add 'nightly spend3' --cron '0 3 * * *' --timezone UTC refresh" in unescape(overview)
    assert tab.send("/", "/schedules/save").url.path == "/schedules"
    [schedule] = api.get("/v1/schedules")["items"]
    assert (schedule["name"], schedule["cron"]) == (f"nightly {LABELS}", "0 3 * * *")
    assert "No schedule refreshes" not in tab.client.get("/").text
    with transaction(api.settings) as session:
        session.get_one(Schedule, schedule["name"]).next_slot = utcnow().replace(year=2020)
    assert "is overdue: does a beat run?" in tab.client.get("/").text
    assert tab.send("/", "/schedules/run").status_code == 200
    viewer = tab_of(Scope.VIEWER).client.get("/").text
    assert "is overdue: does a beat run?" in viewer and 'action="/schedules/run"' not in viewer
    schedules.remove(api.settings, schedule["name"])
    tab.client.post("/overview/retry", data={**tab.fields("/schedules/new", "/schedules/save"), "job": "1"})
    odd = tab.client.post("/overview/retry", data={**tab.fields("/schedules/new", "/schedules/save"), "job": "x"})
    assert odd.status_code == 422


def test_a_failed_refresh_needs_no_attention_once_another_succeeded(api: Api, tab_of: Open) -> None:
    tab, options = tab_of(Scope.VIEWER), {"labels": LABELS}
    with transaction(api.settings) as session:
        session.add(Job(kind="refresh", options=options, state=JobState.FAILED, error="odd", finished_at=utcnow()))
    assert "(refresh) failed:" in tab.client.get("/").text
    with transaction(api.settings) as session:
        session.add(Job(kind="refresh", options={"labels": "others"}, state=JobState.SUCCEEDED, finished_at=utcnow()))
    assert "(refresh) failed:" in tab.client.get("/").text, "of another label set"
    with transaction(api.settings) as session:
        session.add(Job(kind="refresh", options=options, state=JobState.SUCCEEDED, finished_at=utcnow()))
    assert "(refresh) failed:" not in tab.client.get("/").text


def test_a_key_is_shown_once_and_revoked(api: Api, tab_of: Open) -> None:
    tab = tab_of()
    fields = {"name": "ann <b>", "scope": "analyst", "validity": "90d"}
    made = tab.send("/keys", "/keys", **fields)
    [secret] = re.findall(r"seg_[\w-]+", made.text)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    assert secret not in str(made.headers) and secret not in tab.client.get("/keys").text
    whoami = httpx.get(f"{api.url}/v1/whoami", headers={"Authorization": f"Bearer {secret}"}).json()
    assert (whoami["name"], whoami["opens"]) == ("ann <b>", "analyst")
    twice = tab.send("/keys", "/keys", **fields)
    assert (twice.status_code, "There is a key" in twice.text) == (422, True)
    assert 'value="ann &lt;b&gt;"' in twice.text
    assert tab.send("/keys", "/keys", **{**fields, "scope": "root"}).status_code == 422
    with reading(api.settings) as session:
        made_at = session.get_one(ApiKey, "ann <b>").created_at.isoformat()
    token = tab.fields("/keys", "/keys")
    wrong = tab.client.post("/keys/revoke", data={**token, "name": "ann <b>", "made": "2020-01-01T00:00:00+00:00"})
    assert (wrong.status_code, "has changed since this page was shown" in wrong.text) == (412, True)
    gone = tab.client.post("/keys/revoke", data={**token, "name": "ann <b>", "made": made_at})
    assert (gone.status_code, gone.url.path) == (200, "/keys")
    assert httpx.get(f"{api.url}/v1/whoami", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


def test_plugins_settings_and_the_audit_log_have_pages(api: Api, tab_of: Open) -> None:
    tab = tab_of()
    assert 'href="/plugins/backbone/tabular"' in tab.client.get("/plugins").text
    assert "min_users" in tab.client.get("/plugins/backbone/tabular").text
    assert tab.client.get("/plugins/backbone/nothing").status_code == 404
    words = tab.client.get("/settings").text
    assert "SEGADMIN_USER_KEY_SECRET" in words and "planted" not in words
    checked = tab.send("/settings", "/settings/doctor")
    assert (checked.status_code, "revision" in checked.text) == (200, True)
    assert "store/" in checked.text, "the folders are measured"
    name = api.get("/v1/plugins?kind=textualizer")["items"][0]["name"]
    path = f"/plugins/textualizer/{name}"
    assert "It keeps its contract." in tab.send(path, f"{path}/check").text
    log = tab.client.get("/audit?action=sessions&actor=key the admin").text
    assert "sessions.begin" in log and "keys.create" not in log
    assert "No entry matches." in tab.client.get("/audit?actor=nobody").text


def test_a_form_survives_the_end_of_its_session(api: Api, tab_of: Open) -> None:
    number, tab = another_version(api), tab_of(Scope.OPERATOR)
    path = f"/models/{number}"
    fields = tab.fields(path, f"{path}/promote") | {"reason": "两行\n理由 <b>"}
    tab.client.cookies.delete("segadmin_session")
    asked = tab.client.post(f"{path}/promote", data=fields)
    assert (asked.status_code, 'name="key"' in asked.text) == (401, True)
    assert "the form that you sent is not lost" in asked.text
    kept = dict(re.findall(r'name="(kept_\w+)" value="([^"]*)"', asked.text))
    kept = {name: html.unescape(value) for name, value in kept.items()}
    wrong = tab.log_in("seg_wrong", **kept)
    assert (wrong.status_code, "it is mistyped, or it was revoked" in wrong.text) == (401, True)
    assert "kept_fields" in wrong.text, "also after a wrong key"
    resend = tab.log_in(api.keys[Scope.OPERATOR], **kept)
    assert "The form was not sent yet" in resend.text and "理由 &lt;b&gt;" in resend.text
    inputs = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', resend.text.split("</header>")[1])
    sent = tab.client.post(f"{path}/promote", data={name: html.unescape(value) for name, value in inputs})
    assert (sent.status_code, sent.url.path) == (200, path), sent.text
    assert newest(api, "models.promote").details["reason"] == "两行\n理由 <b>"
    promote_version(api.settings, "1", "as the other tests expect")


def test_a_form_of_another_site_is_not_kept(api: Api, tab_of: Open) -> None:
    body = {"csrf_token": "guess", "reason": "evil", "champion": "1"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        answer = httpx.post(f"{api.url}/models/1/promote", data=body, headers=headers)
        assert answer.status_code == 401
        assert "evil" not in answer.text and "kept_" not in answer.text
    tab = tab_of()
    elsewhere = tab.log_in(api.keys[Scope.VIEWER], kept_path="https://evil.example/", kept_fields="a=b")
    assert "The form was not sent yet" not in elsewhere.text


def test_an_expired_key_says_when_it_expired(api: Api, tab_of: Open) -> None:
    key = api_keys.create(api.settings, "brief", Scope.VIEWER)
    with transaction(api.settings) as session:
        session.get_one(ApiKey, "brief").expires_at = utcnow().replace(year=2025, month=3, day=9, hour=8, minute=30)
    answer = tab_of().log_in(key)
    assert answer.status_code == 401
    assert "This key expired on 3/9/25" in answer.text
    assert "此密钥已于 2025/3/9" in tab_of(language="zh").log_in(key).text


def test_the_navigation_has_what_the_role_may_open(api: Api, tab_of: Open) -> None:
    links = {
        scope: set(re.findall(r'<a href="(/\w*)"', tab_of(scope).client.get("/plugins").text)) - {"/preferences"}
        for scope in (Scope.PAGES, Scope.VIEWER, Scope.ANALYST, Scope.ADMIN)
    }
    assert links[Scope.PAGES] == links[Scope.VIEWER]
    assert "/users" not in links[Scope.VIEWER] and "/users" in links[Scope.ANALYST]
    assert links[Scope.ADMIN] - links[Scope.ANALYST] == {"/keys", "/audit", "/settings"}
    for scope, paths in links.items():
        tab = tab_of(scope)
        assert {path: tab.client.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)
