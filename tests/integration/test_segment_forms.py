"""The forms of segments and users: who may send them, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from segadmin.storage.records import Scope
from tests.api import Api
from tests.chinese import pages
from tests.planted import LABELS

FORMS = {
    f"/segments/{LABELS}/high": Scope.OPERATOR,
    "/users/user-1/correct": Scope.OPERATOR,
    "/users/user-1/pin": Scope.OPERATOR,
    "/users/user-1/withdraw": Scope.OPERATOR,
    "/exports": Scope.ANALYST,
}


@contextmanager
def logged_in(api: Api, scope: Scope) -> Iterator[tuple[httpx.Client, str]]:
    """Yield a browser's client with the session of a key, and the session's token."""
    with httpx.Client(base_url=api.url, follow_redirects=False, timeout=60) as client:
        [token] = re.findall(r'name="csrf_token" value="([^"]+)"', client.get("/login").text)
        client.post("/login", data={"csrf_token": token, "key": api.keys[scope], "next": "/"})
        yield client, re.findall(r'name="csrf_token" value="([^"]+)"', client.get("/segments").text)[0]


@pytest.mark.parametrize("scope", [Scope.VIEWER, Scope.ANALYST, Scope.OPERATOR])
def test_forms_are_for_the_roles_that_may_send_them(api: Api, scope: Scope) -> None:
    with logged_in(api, scope) as (client, token):
        for path, needed in FORMS.items():
            answer = client.post(path, data={"csrf_token": token})
            may = needed in scope.includes
            assert (answer.status_code == 403) != may, (path, answer.status_code)
            assert answer.status_code < 500, path
            assert client.post(path, data={"csrf_token": "x"}).status_code == 403, "of another site"
        shown = client.get(f"/segments/{LABELS}/high").text
        assert ("Edit the description" in shown) == (scope == Scope.OPERATOR)
        assert ("Export users" in shown) == (scope != Scope.VIEWER)


def test_wrong_fields_are_shown_again_with_the_problem(api: Api) -> None:
    user = api.get("/v1/snapshots/1/members?limit=1")["items"][0]["user_key"]
    with logged_in(api, Scope.OPERATOR) as (client, token):
        good = {"csrf_token": token, "labels": LABELS, "segment": "high", "reason": "told us so", "weight": "1"}
        for field, value, message in (
            ("segment", "hihg", "Did you mean"),
            ("reason", " ", "needs a reason"),
            ("weight", "many", "no whole number"),
            ("weight", "101", "not between 0 and 100"),
            ("expires", "soon", "no date such as"),
            ("expires", "9999-12-31", "no date such as"),
            ("expires", "2020-01-01", "which is past"),
            ("labels", "nothing", "There is no label set"),
        ):
            answer = client.post(f"/users/{user}/correct", data=good | {field: value})
            assert (answer.status_code, message in answer.text) == (422, True), (field, value, answer.text[-500:])
        assert api.get("/v1/corrections?all=true")["items"] == [], "nothing was written"
        edit = {"csrf_token": token, "revision": "0", "owner": "x" * 201, "description": "kept text"}
        answer = client.post(f"/segments/{LABELS}/high", data=edit)
        assert (answer.status_code, "200 are allowed" in answer.text) == (422, True)
        assert "kept text" in answer.text
        for revision in ("", "x", "-1", "99", "1" * 40):
            answer = client.post(f"/segments/{LABELS}/high", data=edit | {"owner": "Ann", "revision": revision})
            assert answer.status_code == 412, revision
        export = {"csrf_token": token, "snapshot": "99", "file_format": "exe"}
        assert client.post("/exports", data=export).status_code in {404, 422}
        for path in (
            *("/users/nobody/correct", "/segments/nothing/high"),
            *("/exports/999", "/exports/1", "/snapshots/1/1/users", "/snapshots/1/typical?segment=hihg"),
            *(f"/users/{user}?after=x", f"/users/{user}?after=1_{'9' * 19}", "/review?labels=nothing"),
        ):
            status = client.get(path).status_code
            assert 400 <= status < 500 or (status == 200 and "after=1_" in path), path


@pytest.mark.parametrize("scope", [Scope.VIEWER, Scope.ANALYST, Scope.OPERATOR])
def test_no_link_of_a_page_is_refused(api: Api, scope: Scope) -> None:
    user = api.get("/v1/snapshots/1/members?segment=low&limit=1")["items"][0]["user_key"]
    api("POST", f"/v1/users/{user}/corrections", json={"segment": "high", "reason": "told us so", "labels": LABELS})
    refused, opened = [], set()
    with logged_in(api, scope) as (client, _):
        client.follow_redirects = True
        client.event_hooks["response"].append(
            lambda answer: refused.append(answer.url.path) if answer.status_code == 403 else None
        )
        opened = {path for path, _ in pages(client)}
    assert refused == []
    assert ("/snapshots/1/2/users" in opened) == (scope != Scope.VIEWER), "those who moved"
    assert ("/snapshots/2/typical?segment=low" in opened) == (scope != Scope.VIEWER)
    assert "/snapshots/1/2" in opened
