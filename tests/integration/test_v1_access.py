"""Who may do what: a table of every route, compared with the application and tried with a key of every scope."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Literal

import httpx
import pytest

from segadmin.jobs import schedules
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.database import transaction
from segadmin.storage.records import ROLES, ApiKey, Job, JobState, Scope, Step, StepState, utcnow
from segadmin_api.http.app import routers
from segadmin_api.http.permissions import Permission, permissions
from tests.api import Api
from tests.conftest import Cli
from tests.servers import web_server

ANY, OPEN = "any key", "no key"
#: Every route and the scope that it needs. Whoever adds a route decides here who may call it.
TABLE: dict[tuple[str, str], Scope | Literal["any key", "no key"]] = {
    ("POST", "/v1/events"): Scope.EVENTS,
    ("POST", "/v1/score"): Scope.SEGMENTS,
    ("GET", "/v1/users/{user:path}/segment"): Scope.SEGMENTS,
    ("GET", "/v1/jobs"): Scope.VIEWER,
    ("POST", "/v1/jobs"): Scope.OPERATOR,
    ("POST", "/v1/jobs/estimate"): Scope.OPERATOR,
    ("POST", "/v1/jobs/cancel"): Scope.OPERATOR,
    ("POST", "/v1/jobs/retry"): Scope.OPERATOR,
    ("GET", "/v1/jobs/{job}"): Scope.VIEWER,
    ("GET", "/v1/jobs/{job}/logs"): Scope.VIEWER,
    ("GET", "/v1/jobs/{job}/trials"): Scope.VIEWER,
    ("POST", "/v1/jobs/{job}/cancel"): Scope.OPERATOR,
    ("POST", "/v1/jobs/{job}/retry"): Scope.OPERATOR,
    ("GET", "/v1/jobs/{job}/events"): Scope.VIEWER,
    ("GET", "/v1/models/canary"): Scope.VIEWER,
    ("GET", "/v1/models/canary/{number}"): Scope.VIEWER,
    ("POST", "/v1/models/canary/{number}/stop"): Scope.OPERATOR,
    ("GET", "/v1/models"): Scope.VIEWER,
    ("POST", "/v1/models/rollback"): Scope.OPERATOR,
    ("GET", "/v1/models/{version}"): Scope.VIEWER,
    ("GET", "/v1/models/{version}/card"): Scope.VIEWER,
    ("GET", "/v1/models/{version}/compare"): Scope.VIEWER,
    ("POST", "/v1/models/{version}/promote"): Scope.OPERATOR,
    ("GET", "/v1/snapshots"): Scope.VIEWER,
    ("GET", "/v1/snapshots/{snapshot}"): Scope.VIEWER,
    ("GET", "/v1/snapshots/{snapshot}/diff"): Scope.VIEWER,
    ("GET", "/v1/snapshots/{snapshot}/members"): Scope.VIEWER,
    ("GET", "/v1/snapshots/{snapshot}/diff/users"): Scope.ANALYST,
    ("GET", "/v1/snapshots/{snapshot}/typical"): Scope.ANALYST,
    ("GET", "/v1/snapshots/{snapshot}/report"): Scope.VIEWER,
    ("GET", "/v1/snapshots/{snapshot}/report/data"): Scope.VIEWER,
    ("GET", "/v1/snapshots/{snapshot}/report/charts"): Scope.VIEWER,
    ("GET", "/v1/segments"): Scope.VIEWER,
    ("GET", "/v1/segments/{label_set}"): Scope.VIEWER,
    ("GET", "/v1/segments/{label_set}/{segment:path}"): Scope.VIEWER,
    ("PUT", "/v1/segments/{label_set}/{segment:path}"): Scope.OPERATOR,
    ("GET", "/v1/users/{user:path}/events"): Scope.ANALYST,
    ("GET", "/v1/users/{user:path}/corrections"): Scope.ANALYST,
    ("POST", "/v1/users/{user:path}/corrections"): Scope.OPERATOR,
    ("DELETE", "/v1/users/{user:path}/corrections"): Scope.OPERATOR,
    ("POST", "/v1/users/{user:path}/pins"): Scope.OPERATOR,
    ("GET", "/v1/corrections"): Scope.ANALYST,
    ("GET", "/v1/review"): Scope.ANALYST,
    ("POST", "/v1/exports"): Scope.ANALYST,
    ("GET", "/v1/exports/{job}/file"): Scope.ANALYST,
    ("GET", "/v1/users/{user:path}/text"): Scope.ANALYST,
    ("GET", "/v1/users/{user:path}"): Scope.VIEWER,
    ("DELETE", "/v1/users/{user:path}"): Scope.ADMIN,
    ("GET", "/v1/users/{user:path}/erasure"): Scope.ADMIN,
    ("GET", "/v1/merges"): Scope.ANALYST,
    ("POST", "/v1/merges"): Scope.OPERATOR,
    ("POST", "/v1/merges/{number}/undo"): Scope.OPERATOR,
    ("GET", "/v1/profile"): Scope.VIEWER,
    ("POST", "/v1/uploads"): Scope.OPERATOR,
    ("GET", "/v1/uploads"): Scope.OPERATOR,
    ("GET", "/v1/uploads/{upload}"): Scope.OPERATOR,
    ("DELETE", "/v1/uploads/{upload}"): Scope.OPERATOR,
    ("GET", "/v1/uploads/{upload}/preview"): Scope.OPERATOR,
    ("POST", "/v1/uploads/{upload}/preview"): Scope.OPERATOR,
    ("POST", "/v1/uploads/{upload}/import"): Scope.OPERATOR,
    ("GET", "/v1/mappings"): Scope.VIEWER,
    ("PUT", "/v1/mappings/{name}"): Scope.OPERATOR,
    ("DELETE", "/v1/mappings/{name}"): Scope.OPERATOR,
    ("GET", "/v1/tables"): Scope.VIEWER,
    ("GET", "/v1/label-sets"): Scope.VIEWER,
    ("GET", "/v1/label-sets/{name:path}"): Scope.VIEWER,
    ("PUT", "/v1/label-sets/{name:path}"): Scope.OPERATOR,
    ("GET", "/v1/imports"): Scope.VIEWER,
    ("GET", "/v1/imports/{number}"): Scope.VIEWER,
    ("GET", "/v1/quarantine"): Scope.ANALYST,
    ("GET", "/v1/quarantine/reasons"): Scope.VIEWER,
    ("GET", "/v1/quarantine/file"): Scope.ANALYST,
    ("POST", "/v1/quarantine/retry"): Scope.OPERATOR,
    ("DELETE", "/v1/quarantine"): Scope.OPERATOR,
    ("GET", "/v1/schedules"): Scope.VIEWER,
    ("GET", "/v1/schedules/{name}"): Scope.VIEWER,
    ("PUT", "/v1/schedules/{name}"): Scope.OPERATOR,
    ("DELETE", "/v1/schedules/{name}"): Scope.OPERATOR,
    ("POST", "/v1/schedules/{name}/pause"): Scope.OPERATOR,
    ("POST", "/v1/schedules/{name}/resume"): Scope.OPERATOR,
    ("POST", "/v1/schedules/{name}/run"): Scope.OPERATOR,
    ("GET", "/v1/feeds"): Scope.VIEWER,
    ("POST", "/v1/feeds"): Scope.ADMIN,
    ("GET", "/v1/feeds/{name}"): Scope.VIEWER,
    ("DELETE", "/v1/feeds/{name}"): Scope.ADMIN,
    ("POST", "/v1/feeds/{name}/deliver"): Scope.OPERATOR,
    ("GET", "/v1/plugins"): Scope.VIEWER,
    ("GET", "/v1/plugins/{kind}/{name}"): Scope.VIEWER,
    ("POST", "/v1/plugins/{kind}/{name}/check"): Scope.ADMIN,
    ("GET", "/v1/backbones"): Scope.VIEWER,
    ("POST", "/v1/backbones/check"): Scope.ADMIN,
    ("GET", "/v1/broker/quarantine"): Scope.OPERATOR,
    ("DELETE", "/v1/broker/quarantine"): Scope.OPERATOR,
    ("GET", "/v1/drift"): Scope.VIEWER,
    ("GET", "/v1/drift/page"): Scope.VIEWER,
    ("GET", "/v1/drift/{snapshot}"): Scope.VIEWER,
    ("GET", "/v1/audit"): Scope.ADMIN,
    ("GET", "/v1/keys"): Scope.ADMIN,
    ("POST", "/v1/keys"): Scope.ADMIN,
    ("DELETE", "/v1/keys/{name}"): Scope.ADMIN,
    ("GET", "/v1/settings"): Scope.ADMIN,
    ("POST", "/v1/doctor"): Scope.ADMIN,
    ("GET", "/v1/whoami"): ANY,
    ("GET", "/login"): OPEN,
    ("POST", "/login"): OPEN,
    ("POST", "/logout"): OPEN,
    ("GET", "/"): Scope.PAGES,
    ("GET", "/jobs"): Scope.PAGES,
    ("GET", "/jobs/{job}"): Scope.PAGES,
    ("POST", "/overview/retry"): Scope.OPERATOR,
    ("GET", "/jobs/{job}/logs"): Scope.PAGES,
    ("POST", "/jobs/{job}/cancel"): Scope.OPERATOR,
    ("POST", "/jobs/{job}/retry"): Scope.OPERATOR,
    ("POST", "/jobs/bulk"): Scope.OPERATOR,
    ("GET", "/jobs/new"): Scope.OPERATOR,
    ("GET", "/jobs/new/{kind}"): Scope.OPERATOR,
    ("POST", "/jobs/new/{kind}"): Scope.OPERATOR,
    ("GET", "/models"): Scope.PAGES,
    ("GET", "/models/compare"): Scope.PAGES,
    ("GET", "/models/canaries"): Scope.PAGES,
    ("GET", "/models/canaries/{number}"): Scope.PAGES,
    ("POST", "/models/canaries/{number}/stop"): Scope.OPERATOR,
    ("POST", "/models/canaries/{number}/promote"): Scope.OPERATOR,
    ("GET", "/models/{version}"): Scope.PAGES,
    ("POST", "/models/{version}/promote"): Scope.OPERATOR,
    ("POST", "/models/{version}/rollback"): Scope.OPERATOR,
    ("GET", "/drift"): Scope.PAGES,
    ("GET", "/static/{digest}/{name:path}"): OPEN,
    ("GET", "/preferences"): OPEN,
    ("GET", "/segments"): Scope.PAGES,
    ("GET", "/segments/{label_set}/{segment:path}"): Scope.PAGES,
    ("POST", "/segments/{label_set}/{segment:path}"): Scope.OPERATOR,
    ("GET", "/snapshots/{number}/typical"): Scope.ANALYST,
    ("GET", "/snapshots/{earlier}/{later}/users"): Scope.ANALYST,
    ("POST", "/exports"): Scope.ANALYST,
    ("GET", "/exports/{job}"): Scope.ANALYST,
    ("GET", "/exports/{job}/file"): Scope.ANALYST,
    ("POST", "/users/{user}/correct"): Scope.OPERATOR,
    ("POST", "/users/{user}/pin"): Scope.OPERATOR,
    ("POST", "/users/{user}/withdraw"): Scope.OPERATOR,
    ("GET", "/corrections"): Scope.ANALYST,
    ("GET", "/review"): Scope.ANALYST,
    ("GET", "/users"): Scope.ANALYST,
    ("GET", "/users/{user}"): Scope.ANALYST,
    ("GET", "/snapshots"): Scope.PAGES,
    ("GET", "/snapshots/{number}"): Scope.PAGES,
    ("GET", "/snapshots/{number}/report"): Scope.PAGES,
    ("GET", "/snapshots/{earlier}/{later}"): Scope.PAGES,
    ("GET", "/data"): Scope.PAGES,
    ("GET", "/data/imports/{number}"): Scope.PAGES,
    ("GET", "/data/profile"): Scope.PAGES,
    ("POST", "/data/profile"): Scope.OPERATOR,
    ("GET", "/data/labels"): Scope.PAGES,
    ("POST", "/data/labels"): Scope.OPERATOR,
    ("GET", "/data/upload"): Scope.OPERATOR,
    ("POST", "/data/upload"): Scope.OPERATOR,
    ("GET", "/data/uploads/{upload}"): Scope.OPERATOR,
    ("POST", "/data/uploads/{upload}/propose"): Scope.OPERATOR,
    ("POST", "/data/uploads/{upload}/mapping"): Scope.OPERATOR,
    ("POST", "/data/uploads/{upload}/text"): Scope.OPERATOR,
    ("POST", "/data/uploads/{upload}/save"): Scope.OPERATOR,
    ("POST", "/data/uploads/{upload}/import"): Scope.OPERATOR,
    ("POST", "/data/uploads/{upload}/remove"): Scope.OPERATOR,
    ("POST", "/data/mappings/remove"): Scope.OPERATOR,
    ("GET", "/data/results/{job}"): Scope.OPERATOR,
    ("GET", "/data/quarantine"): Scope.ANALYST,
    ("GET", "/data/quarantine/file"): Scope.ANALYST,
    ("POST", "/data/quarantine/retry"): Scope.OPERATOR,
    ("POST", "/data/quarantine/drop"): Scope.OPERATOR,
    ("GET", "/data/merges"): Scope.ANALYST,
    ("POST", "/data/merges"): Scope.OPERATOR,
    ("POST", "/data/merges/undo"): Scope.OPERATOR,
    ("GET", "/data/erase"): Scope.ADMIN,
    ("POST", "/data/erase/plan"): Scope.ADMIN,
    ("POST", "/data/erase"): Scope.ADMIN,
    ("GET", "/schedules"): Scope.PAGES,
    ("GET", "/schedules/show"): Scope.PAGES,
    ("GET", "/schedules/new"): Scope.PAGES,
    ("GET", "/schedules/edit"): Scope.PAGES,
    ("POST", "/schedules/save"): Scope.OPERATOR,
    ("POST", "/schedules/pause"): Scope.OPERATOR,
    ("POST", "/schedules/resume"): Scope.OPERATOR,
    ("POST", "/schedules/run"): Scope.OPERATOR,
    ("POST", "/schedules/delete"): Scope.OPERATOR,
    ("GET", "/plugins"): Scope.PAGES,
    ("GET", "/plugins/{kind}/{name}"): Scope.PAGES,
    ("POST", "/plugins/{kind}/{name}/check"): Scope.ADMIN,
    ("GET", "/keys"): Scope.ADMIN,
    ("POST", "/keys"): Scope.ADMIN,
    ("POST", "/keys/revoke"): Scope.ADMIN,
    ("GET", "/settings"): Scope.ADMIN,
    ("POST", "/settings/doctor"): Scope.ADMIN,
    ("GET", "/audit"): Scope.ADMIN,
    ("GET", "/metrics"): Scope.PAGES,
    ("GET", "/openapi.json"): ANY,
}
SAMPLES = {
    "job": "999",
    "version": "999",
    "snapshot": "999",
    "number": "999",
    "user:path": "nobody",
    "name": "none",
    "kind": "backbone",
    "digest": "none",
    "name:path": "none.css",
    "label_set": "none",
    "segment": "none",
    "segment:path": "none",
    "user": "nobody",
    "earlier": "998",
    "later": "999",
    "upload": "0" * 32,
}


def test_the_table_has_every_route() -> None:
    asked = {
        (each.method, each.path): each.scope or (ANY if each.needs_key else OPEN) for each in permissions(routers())
    }
    assert asked == TABLE


def test_roles_include_those_before_them() -> None:
    for lower, higher in itertools.pairwise(ROLES):
        assert lower.includes < higher.includes
    assert Scope.ADMIN.includes == set(Scope)
    for alone in (Scope.EVENTS, Scope.PAGES, Scope.SEGMENTS):
        assert alone.includes == {alone}, "keys of before open what they opened"


@pytest.mark.parametrize("scope", [None, *Scope])
def test_every_route_refuses_who_may_not_call_it(api: Api, scope: Scope | None) -> None:
    for permission in permissions(routers()):
        path = re.sub(r"{([^}]+)}", lambda match: SAMPLES[match[1]], permission.path)
        if _is_form(permission):  # only a session can send it, see below
            continue
        answer = api(permission.method, path, scope, follow_redirects=False)
        where = f"{permission.method} {path}: {answer.status_code} {answer.text[:200]}"
        assert answer.status_code < 500, where
        if permission.method == "POST" and not path.startswith(("/v1", "/log")):
            # Forms are sent by sessions: to whoever has none, whatever the key, the login page is shown.
            assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/login"), where
        elif permission.allows(scope):
            assert answer.status_code != 401, where
            assert answer.status_code != 403 or path in {"/login", "/logout"}, where
        elif scope is None or not path.startswith("/v1"):
            assert (answer.status_code, "WWW-Authenticate" in answer.headers) == (401, True), where
        else:
            assert (answer.status_code, f"for {scope}, and not for" in answer.json()["detail"]) == (403, True), where


def _is_form(permission: Permission) -> bool:
    return permission.method == "POST" and not permission.path.startswith("/v1") and permission.needs_key


def _send_form(browser: Browser, path: str, token: str) -> httpx.Response:
    return browser.client.post(path, data={"csrf_token": token})


def _send_upload(browser: Browser, path: str, token: str) -> httpx.Response:
    return browser.client.post(path, files={"csrf_token": (None, token)})


@pytest.mark.parametrize("scope", [None, *Scope])
def test_every_form_refuses_who_may_not_send_it(
    api: Api, browse: Callable[[str], Browser], scope: Scope | None
) -> None:
    browser, token = browse(api.url), ""
    if scope is not None:
        browser.log_in(api.keys[scope])
        token = browser.client.get("/v1/whoami").json()["csrf_token"]
    for permission in filter(_is_form, permissions(routers())):
        path = re.sub(r"{([^}]+)}", lambda match: SAMPLES[match[1]], permission.path)
        send = _send_upload if path == "/data/upload" else _send_form
        forged = send(browser, path, "guess")
        assert forged.status_code == (401 if scope is None else 403), path
        if not path.endswith(("/doctor", "/check")) or not permission.allows(scope):  # these take seconds
            answer = send(browser, path, token)
            where = f"{path}: {answer.status_code} {answer.text[:200]}"
            refused = 401 if scope is None else 403
            assert answer.status_code < 500, where
            assert (answer.status_code != refused) == permission.allows(scope), where


def test_a_wrong_an_expired_and_a_revoked_key_are_refused(api: Api) -> None:
    def ask(key: str) -> tuple[int, str]:
        answer = httpx.get(f"{api.url}/v1/whoami", headers={"Authorization": f"Bearer {key}"})
        return answer.status_code, answer.json().get("detail", "")

    assert ask("seg_wrong")[0] == 401
    made = api(
        "POST",
        "/v1/keys",
        json={"name": "brief", "role": "viewer", "expires_at": f"{utcnow().year + 1}-01-01T00:00:00Z"},
    )
    key = made.json()["key"]
    assert ask(key)[0] == 200
    with transaction(api.settings) as session:
        row = session.get_one(ApiKey, "brief")
        row.expires_at = utcnow() - timedelta(seconds=1)
    status, detail = ask(key)
    assert (status, "This key expired at" in detail) == (401, True)
    assert api("DELETE", "/v1/keys/brief").status_code == 204
    assert ask(key) == (401, "There is no such key. Make one: segadmin keys create NAME")
    entries = api.get("/v1/audit?action=keys&limit=2")["items"]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        ("keys.revoke", "key the admin"),
        ("keys.create", "key the admin"),
    ]
    assert entries[1]["details"]["after"]["opens"] == "viewer"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "k", "role": "root"}, "role"),
        ({"name": "", "role": "viewer"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "k", "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"name": "k", "secret": "x"}, "secret"),
        ({"role": "viewer"}, "name"),
    ],
)
def test_a_wrong_field_of_a_key_is_named(api: Api, body: dict[str, str], field: str) -> None:
    answer = api("POST", "/v1/keys", json=body)
    assert (answer.status_code, [problem["field"] for problem in answer.json()["errors"]]) == (422, [field])


def test_a_key_of_the_past_is_refused(api: Api) -> None:
    answer = api("POST", "/v1/keys", json={"name": "k", "expires_at": "2020-01-01T00:00:00Z"})
    assert (answer.status_code, "is over" in answer.json()["detail"]) == (422, True)


def test_keys_with_roles_are_made_on_the_command_line(settings: Settings, cli: Cli) -> None:
    key = cli("keys", "create", "ann", "--role", "operator", "--expires", "90d").stdout.strip()
    listed = cli("keys", "list").stdout
    assert re.search(r"ann +operator +\d+ s ago +never +20\d\d-\d\d-\d\d \d\d:\d\d", listed)
    found = api_keys.used(settings, key)
    assert found is not None
    assert found.expires_at is not None
    assert timedelta(days=89) < found.expires_at - utcnow() < timedelta(days=90)
    assert "Leave the others out" in cli("keys", "create", "x", "--role", "admin", "--pages", check=False).stderr
    for wrong in ("90", "0d", "d", "-1d", "9y", "١d"):
        assert "Give hours, days or weeks" in cli("keys", "create", "x", "--expires", wrong, check=False).stderr


def test_a_key_may_send_so_many_requests(settings: Settings) -> None:
    database.ensure_schema(settings)
    with web_server(settings, SEGADMIN_WEB_REQUESTS_PER_SECOND="0.5") as url:
        one, other = (api_keys.create(settings, name, Scope.VIEWER) for name in ("one", "other"))

        def ask(key: str) -> httpx.Response:
            return httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {key}"})

        answers = [ask(one) for _ in range(12)]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert [answer.status_code for answer in answers[:5]] == [200] * 5, "a burst of ten seconds' worth"
        assert 1 <= int(refused.headers["Retry-After"]) <= 2
        assert ask(other).status_code == 200


class Browser:
    """A client that keeps cookies and sends forms."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, follow_redirects=False)

    def token(self, page: str = "/login") -> str:
        [token] = re.findall(r'name="csrf_token" value="([^"]+)"', self.client.get(page).text)
        return str(token)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def log_in(self, key: str, target: str = "/jobs") -> httpx.Response:
        return self.client.post("/login", data={"csrf_token": self.token(), "key": key, "next": target})


@pytest.fixture
def browse() -> Iterator[Callable[[str], Browser]]:
    """Open browsers on servers."""
    with ExitStack() as opened:
        yield lambda url: opened.enter_context(Browser(url))


def test_a_key_becomes_a_session(api: Api, browse: Callable[[str], Browser]) -> None:
    browser = browse(api.url)
    assert browser.client.get("/jobs").status_code == 401
    answer = browser.log_in(api.keys[Scope.OPERATOR])
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("segadmin_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.client.get("/jobs").status_code == 200
    assert browser.client.get("/v1/whoami").json()["name"] == "the operator"
    refused = browser.client.post("/v1/jobs/cancel", json={"kinds": ["none"]})
    assert (refused.status_code, "X-CSRF-Token" in refused.json()["detail"]) == (403, True)
    refused = browser.client.post("/v1/jobs/cancel", json={"kinds": ["none"]}, headers={"X-CSRF-Token": "guess"})
    assert refused.status_code == 403
    token = browser.client.get("/v1/whoami").json()["csrf_token"]
    done = browser.client.post("/v1/jobs/cancel", json={"kinds": ["none"]}, headers={"X-CSRF-Token": token})
    assert (done.status_code, done.json()["done"]) == (200, 0)
    assert browser.client.post("/logout", data={"csrf_token": "guess"}).status_code == 403
    assert browser.client.post("/logout", data={"csrf_token": token}).status_code == 303
    assert browser.client.get("/v1/whoami").status_code == 401
    actions = [entry["action"] for entry in api.get("/v1/audit?action=sessions&limit=2")["items"]]
    assert actions == ["sessions.end", "sessions.begin"]


def test_a_session_ends_with_its_key(api: Api, browse: Callable[[str], Browser]) -> None:
    api("POST", "/v1/keys", json={"name": "leaver", "role": "viewer"})
    api("DELETE", "/v1/keys/leaver")
    key = api("POST", "/v1/keys", json={"name": "leaver", "role": "viewer"}).json()["key"]
    browser = browse(api.url)
    browser.log_in(key)
    assert browser.client.get("/v1/whoami").status_code == 200
    api("DELETE", "/v1/keys/leaver")
    assert browser.client.get("/v1/whoami").status_code == 401
    api("POST", "/v1/keys", json={"name": "leaver", "role": "admin"})
    assert browser.client.get("/v1/whoami").status_code == 401, "another key of the same name"
    api("DELETE", "/v1/keys/leaver")


def test_forged_sessions_and_forms_are_refused(api: Api, browse: Callable[[str], Browser]) -> None:
    browser = browse(api.url)
    browser.log_in(api.keys[Scope.VIEWER])
    cookie = browser.client.cookies["segadmin_session"]
    name, ends, nonce, signature = cookie.split(".")
    for forged in (
        f"{name}.{int(ends) + 1}.{nonce}.{signature}",
        f"{name}.{ends}.{nonce}x.{signature}",
        f"{name}.{ends}.{nonce}.{'0' * 64}",
        f"{name}.{'9' * 5000}.{nonce}.{signature}",
        f"%.{ends}.{nonce}.{signature}",
        f"{name}.{ends}.{nonce}",
        "...",
    ):
        answer = httpx.get(f"{api.url}/v1/whoami", headers={"Cookie": f"segadmin_session={forged}"})
        assert answer.status_code == 401, forged
    stranger = browse(api.url)
    form = {"csrf_token": stranger.token(), "key": api.keys[Scope.VIEWER]}
    assert httpx.post(f"{api.url}/login", data=form).status_code == 403, "without the cookie of the form"
    assert httpx.post(f"{api.url}/login", content=b"\xff").status_code == 400
    assert httpx.post(f"{api.url}/login", content=b"a=" + b"b" * 300_000).status_code == 413


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "/a\nb"]
)
def test_a_login_continues_only_on_this_server(api: Api, browse: Callable[[str], Browser], target: str) -> None:
    answer = browse(api.url).log_in(api.keys[Scope.VIEWER], target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_the_login_page_refuses_a_wrong_key(settings: Settings, browse: Callable[[str], Browser]) -> None:
    database.ensure_schema(settings)
    with web_server(settings) as url:
        browser = browse(url)
        statuses = [browser.log_in(f"seg_{number:03}_guess_of_a_key").status_code for number in range(12)]
    assert statuses[:3] == [401] * 3
    assert statuses[-1] == 429, "guessing is slowed down"


def test_pages_have_no_inline_script_and_forms_go_to_this_server(api: Api) -> None:
    answer = httpx.get(f"{api.url}/login")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)", answer.text)


def test_others_reach_the_server_only_with_a_key_and_encryption(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    words = ("web", "--address", "0.0.0.0", "--port", "0")
    assert "add --behind-proxy, or give it a certificate" in cli(*words, check=False).stderr
    for protected in (("--behind-proxy",), ()):
        proxies = {} if protected else {"SEGADMIN_WEB_PROXIES": "10.0.0.1"}
        refused = cli(*words, *protected, check=False, **proxies)
        assert "Make one first: segadmin keys create NAME --role admin" in refused.stderr
    assert "Both are needed" in cli(*words, "--tls-key", "x.pem", check=False).stderr
    missing = cli(*words, "--tls-key", "x.pem", "--tls-certificate", "x.pem", check=False)
    assert "--tls-certificate=x.pem, --tls-key=x.pem: No such file" in missing.stderr


def test_docs_have_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/http.md").read_text(encoding="utf-8")
    for permission in permissions(routers()):
        if permission.path.startswith("/v1"):
            path = permission.path.replace(":path", "")
            assert f"| `{permission.method} {path}` |" in page


def _failed(settings: Settings, kind: str, **options: object) -> int:
    """Add a job that failed, as an administrator has asked for it."""
    with transaction(settings) as session:
        job = Job(kind=kind, options=options, state=JobState.FAILED, error="gone")
        session.add(job)
        session.flush()
        session.add(Step(job_id=job.id or 0, stage=kind, queue="cpu", state=StepState.FAILED))
        return job.id or 0


ADMIN_JOBS = (
    ("ingest", {"where": "/etc/passwd"}),
    ("retain", {"keep_days": 400.0}),
    ("compact", {"tracker_options": {"mlflow.uri": "http://elsewhere"}}),  # of any kind
)


@pytest.mark.parametrize(("kind", "options"), ADMIN_JOBS)
def test_a_retry_needs_what_the_job_needs(
    api: Api, browse: Callable[[str], Browser], kind: str, options: dict[str, object]
) -> None:
    job, browser = _failed(api.settings, kind, **options), browse(api.url)
    browser.log_in(api.keys[Scope.OPERATOR])
    token = browser.client.get("/v1/whoami").json()["csrf_token"]
    assert f"/jobs/{job}/retry" not in browser.client.get(f"/jobs/{job}").text
    assert "/overview/retry" not in browser.client.get("/").text
    for path, fields in ((f"/jobs/{job}/retry", {}), ("/overview/retry", {"job": str(job)})):
        assert browser.client.post(path, data={"csrf_token": token, **fields}).status_code == 403
    chosen = {"csrf_token": token, "do": "retry", "job": str(job)}
    assert "needs a key for admin" in browser.client.post("/jobs/bulk", data=chosen).text
    refused = api("POST", f"/v1/jobs/{job}/retry", Scope.OPERATOR)
    assert (refused.status_code, "needs a key for admin" in refused.json()["detail"]) == (403, True)
    every = api("POST", "/v1/jobs/retry", Scope.OPERATOR, json={"numbers": [job]}).json()
    assert (every["done"], every["failures"][0]["job"]) == (0, job)
    assert api.get(f"/v1/jobs/{job}")["state"] == "failed"
    again = api("POST", "/v1/jobs/retry", json={"numbers": [job]})
    assert (again.status_code, again.json().get("done")) == (200, 1), again.text
    assert api("POST", f"/v1/jobs/{job}/cancel", Scope.OPERATOR).status_code == 200, "whoever sees it may stop it"


@pytest.mark.parametrize(("kind", "options"), ADMIN_JOBS)
def test_a_schedule_of_administrators_is_theirs(
    api: Api, browse: Callable[[str], Browser], kind: str, options: dict[str, object]
) -> None:
    schedules.add(api.settings, "theirs", "0 3 * * *", kind, dict(options))
    browser = browse(api.url)
    browser.log_in(api.keys[Scope.OPERATOR])
    token = browser.client.get("/v1/whoami").json()["csrf_token"]
    etag = api("GET", "/v1/schedules/theirs").headers["ETag"]
    other = {"kind": "compact", "cron": "0 4 * * *"}
    of_form = {"csrf_token": token, "name": "theirs", "timezone": "UTC", "etag": etag, **other}
    page = browser.client.get("/schedules").text
    assert "/schedules/pause" in page
    for path in ("/schedules/run", "/schedules/save", "/schedules/delete"):
        assert path not in page
        assert browser.client.post(path, data=of_form).status_code == 403, path
    assert browser.client.get("/schedules/edit?name=theirs").status_code == 403
    for method, path, body in (("PUT", "", other), ("DELETE", "", None), ("POST", "/run", None)):
        assert api(method, f"/v1/schedules/theirs{path}", Scope.OPERATOR, json=body).status_code == 403, (method, path)
    assert api("POST", "/v1/schedules/theirs/pause", Scope.OPERATOR).status_code == 200, "whoever sees it may stop it"
    assert api("POST", "/v1/schedules/theirs/resume", Scope.OPERATOR).status_code == 403
    assert "/schedules/resume" not in browser.client.get("/schedules").text
    assert api.get("/v1/schedules/theirs")["kind"] == kind
    assert api("POST", "/v1/schedules/theirs/resume").status_code == 200
    assert api("DELETE", "/v1/schedules/theirs").status_code == 204
