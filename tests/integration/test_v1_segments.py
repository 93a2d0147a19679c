"""Segments, their descriptions, the users behind a cell, and corrections over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest

from segadmin.errors import Stale
from segadmin.events.keys import show_key
from segadmin.storage.lake import Lake
from segadmin.storage.records import Scope
from segadmin_api.client import Client
from tests.api import Api
from tests.planted import LABELS, Run, more_weeks, planted_users, through_the_engine

HIGH = f"/v1/segments/{LABELS}/high"
HOSTILE = "</td><script>alert(1)</script> =1+1 {{ 7 * 7 }} \u202e 用户"


@pytest.fixture(scope="module")
def moved(api: Api) -> Api:
    """The shop with a second snapshot."""
    more_weeks(api.settings, planted_users(api.settings), range(14, 16))
    Run(api.settings, "refresh", {"force": True}).all()
    return api


def test_a_segment_is_the_same_here_as_in_lists(moved: Api) -> None:
    shown = moved.get(HIGH, Scope.VIEWER)
    [listed] = [row for row in moved.get("/v1/segments")["items"] if row["segment"] == "high"]
    assert {name: shown[name] for name in listed} == listed
    assert sum(shown["probabilities"]) == shown["users"]
    assert shown["profile"]["categories"][0]["name"] == "games"
    movement, diff = shown["movement"], moved.get("/v1/snapshots/2/diff")
    entered = sum(cell["users"] for cell in diff["matrix"] if cell["after"] == "high" != cell["before"])
    assert sum(each["users"] for each in movement["entered"]) == entered
    assert movement["stayed"] + entered == shown["users"]
    assert shown["calibration"]["rows"] == sum(each["rows"] for each in shown["calibration"]["bins"])
    both = moved.get(f"/v1/segments/{LABELS}?segment=high&segment=low")["items"]
    assert [each["segment"] for each in both] == ["high", "low"]
    assert both[0]["profile"] == shown["profile"]
    assert len(moved.get(f"/v1/segments/{LABELS}")["items"]) == 3
    for path in (f"{HIGH}er", "/v1/segments/none/high", "/v1/segments/none"):
        assert moved("GET", path).status_code == 404, path


def test_a_description_is_written_once_and_never_over_anothers(api: Api) -> None:
    answer = api("GET", HIGH)
    etag = answer.headers["ETag"]
    assert (etag, answer.json()["description"]["revision"]) == ('"description-0"', 0)

    def write(n: int) -> int:
        return api("PUT", HIGH, Scope.OPERATOR, json={"owner": f"team {n}"}, headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(6) as threads:
        statuses = sorted(threads.map(write, range(6)))
    assert statuses == [200, 412, 412, 412, 412, 412]
    assert api("PUT", HIGH, json={"owner": "x"}).status_code == 428
    assert api("PUT", HIGH, json={"owner": "x"}, headers={"If-Match": '"champion-1"'}).status_code == 412
    written = api("PUT", HIGH, json={"description": HOSTILE}, headers={"If-Match": "*"})
    assert (written.status_code, written.headers["ETag"]) == (200, '"description-2"')
    shown = api.get(HIGH)
    assert shown["description"]["description"] == HOSTILE
    assert [each["revision"] for each in shown["history"]] == [2, 1]
    assert shown["history"][0]["actor"] == "key the admin"
    entry = api.get("/v1/audit?action=segments.describe&limit=1")["items"][0]
    assert (entry["actor"], entry["details"]["description"]["after"]) == ("key the admin", HOSTILE)
    for body in ({"owner": "a\nb"}, {"owner": "x" * 201}, {"description": "x" * 4001}, {"color": "red"}):
        refused = api("PUT", HIGH, json=body, headers={"If-Match": "*"})
        assert refused.status_code == 422, body


def test_the_users_behind_a_cell_are_as_many_as_it_says(moved: Api) -> None:
    diff = moved.get("/v1/snapshots/2/diff")
    for cell in diff["matrix"]:
        users, cursor = [], ""
        while cursor is not None:
            where = f"before={cell['before'] or 'new'}&after={cell['after'] or 'left'}&limit=60{cursor}"
            page = moved.get(f"/v1/snapshots/2/diff/users?{where}", Scope.ANALYST)
            users += page["items"]
            cursor = page["next"] and f"&cursor={page['next']}"
        assert len({user["user_key"] for user in users}) == len(users) == cell["users"]
        assert all((user["before"], user["after"]) == (cell["before"], cell["after"]) for user in users)
    assert moved("GET", "/v1/snapshots/2/diff/users?before=hihg").status_code == 422
    entry = moved.get("/v1/audit?action=snapshots.diff&limit=1")["items"][0]
    assert entry["actor"] == "key the analyst"
    movement = diff["movements"][0]
    where = {name: movement[name] for name in ("before", "after", "cause")}
    options = {"snapshot": 2, "moved_since": 1, **where}
    job = through_the_engine(moved.settings, "export", options)
    text = moved("GET", f"/v1/exports/{job}/file", Scope.ANALYST).text
    assert len(text.splitlines()) == movement["users"] + 1
    assert text.lstrip("\ufeff").splitlines()[0] == "user,before,after,cause"
    for wrong in ({"before": "low"}, {"moved_since": 1, "segment": "low"}, {"moved_since": 1, "after": "hihg"}):
        assert moved("POST", "/v1/exports", json={"snapshot": 2, **wrong}).status_code == 422, wrong
    assert moved("POST", "/v1/exports", json={"snapshot": 1, "moved_since": 2}).status_code == 422


def test_typical_users_are_members(moved: Api) -> None:
    users = moved.get("/v1/snapshots/2/typical?segment=high", Scope.ANALYST)["items"]
    members = moved.get("/v1/snapshots/2/members?segment=high&limit=1000")["items"]
    assert len(users) == 5
    assert {user["user_key"] for user in users} <= {member["user_key"] for member in members}
    assert moved("GET", "/v1/snapshots/2/typical?segment=hihg").status_code == 422


def test_the_events_of_a_user_are_read_in_pages(api: Api) -> None:
    user = planted_users(api.settings).sort("rate").row(-1, named=True)
    rows = Lake.of(api.settings).scan("events").filter(pl.col("user_key") == user["user_key"]).collect()
    events: list[dict[str, Any]] = []
    path, cursor = f"/v1/users/{user['user']}/events?limit=25", ""
    while cursor is not None:
        page = api.get(path + cursor, Scope.ANALYST)
        events += page["items"]
        cursor = page["next"] and f"&cursor={page['next']}"
    assert len(events) == rows.height
    assert [event["at"] for event in events] == sorted((event["at"] for event in events), reverse=True)
    assert events[0]["title"] == events[0]["item"].replace("-", " ")
    assert api("GET", "/v1/users/nobody/events").status_code == 404


def test_a_user_is_corrected_pinned_and_left_to_the_model(moved: Api) -> None:
    row = moved.get("/v1/snapshots/2/members?segment=low&limit=1")["items"][0]
    user, path = row["user_key"], f"/v1/users/{row['user_key']}"
    made = moved(
        "POST",
        f"{path}/corrections",
        Scope.OPERATOR,
        json={"segment": "high", "reason": HOSTILE, "expires_at": "2099-01-01T00:00:00Z"},
    )
    assert (made.status_code, made.json()["before"]) == (201, "low")
    snapshot = made.json()["snapshot"]
    assert moved.get(f"{path}")["history"][0]["segment"] == "high"
    assert moved.get("/v1/segments")["items"][0]["snapshot"] == snapshot
    [listed] = moved.get("/v1/corrections", Scope.ANALYST)["items"]
    assert (listed["user_key"], listed["reason"], listed["in_force"]) == (user, HOSTILE, True)
    assert listed["actor"] == "key the operator"
    pinned = moved("POST", f"{path}/pins", json={"reason": "contract"})
    assert (pinned.status_code, pinned.json()["correction"]["weight"]) == (201, 0)
    assert pinned.json()["replaced"] == listed["id"]
    ended = moved("DELETE", f"{path}/corrections", params={"reason": "a mistake"})
    assert (ended.status_code, ended.json()["correction"]["in_force"]) == (200, False)
    assert moved.get(f"{path}")["history"][0]["segment"] == "low"
    assert moved.get("/v1/corrections")["items"] == []
    everything = moved.get("/v1/corrections?all=true&limit=1")
    assert everything["items"][0]["withdrawn_because"] == "a mistake"
    assert len(moved.get(f"/v1/corrections?all=true&cursor={everything['next']}")["items"]) == 1
    assert len(moved.get(f"{path}/corrections", Scope.ANALYST)) == 2
    for method, where, body, status in (
        ("POST", "corrections", {"segment": "hihg", "reason": "x"}, 422),
        ("POST", "corrections", {"segment": "high", "reason": " "}, 422),
        ("POST", "corrections", {"segment": "high", "reason": "x", "expires_at": "2020-01-01T00:00:00Z"}, 422),
        ("POST", "corrections", {"segment": "high", "reason": "x", "weight": 101}, 422),
        ("POST", "pins", {"segment": "not enough known", "reason": "x"}, 422),
        ("DELETE", "corrections?reason=x", None, 422),
    ):
        answer = moved(method, f"{path}/{where}", json=body) if body else moved(method, f"{path}/{where}")
        assert answer.status_code == status, (where, body, answer.text)
    assert moved("POST", "/v1/users/nobody/corrections", json={"segment": "high", "reason": "x"}).status_code == 404


def test_the_review_list_has_the_most_useful_first(moved: Api) -> None:
    review = moved.get("/v1/review?limit=5", Scope.ANALYST)
    priorities = [user["priority"] for user in review["items"]]
    assert len(priorities) == 5
    assert priorities == sorted(priorities, reverse=True)
    keys = {show_key(key) for key in planted_users(moved.settings)["user_key"]}
    assert {user["user_key"] for user in review["items"]} <= keys
    assert moved.get("/v1/review?limit=1&ignore_value=true")["items"][0]["value"] == 1


def test_the_client_describes_and_corrects(api: Api) -> None:
    with Client(api.url, api.keys[Scope.OPERATOR]) as client:
        before = client.show_segment(LABELS, "mid").description
        written = client.describe_segment(LABELS, "mid", owner="Ann", revision=before.revision)
        assert (written.revision, written.owner) == (before.revision + 1, "Ann")
        with pytest.raises(Stale, match="Somebody else changed the description"):
            client.describe_segment(LABELS, "mid", owner="Bob", revision=before.revision)
        done = client.correct_user("user-7", "high", "told us so")
        assert done.correction.in_force
        assert client.withdraw_correction("user-7", "a mistake").correction.withdrawn_because == "a mistake"
