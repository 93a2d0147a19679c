"""What can be read over HTTP, page by page, and how what cannot be read is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.snapshots.read import assignments
from segadmin.storage.records import Scope
from tests.api import Api
from tests.planted import LABELS, planted_users

LISTS = (
    "/v1/jobs",
    "/v1/models",
    "/v1/snapshots",
    "/v1/snapshots/1/members",
    "/v1/imports",
    "/v1/quarantine",
    "/v1/drift",
    "/v1/audit",
)


def all_pages(api: Api, path: str, limit: int, **wanted: str) -> list[dict[str, Any]]:
    """Return the items of all pages, each reached by the cursor of the one before."""
    items: list[dict[str, Any]] = []
    query: dict[str, Any] = {**wanted, "limit": limit}
    while True:
        page = api.get(path, params=query)
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        assert len(page["items"]) == limit
        query["cursor"] = page["next"]


def test_jobs_are_listed_in_pages_by_filters(api: Api) -> None:
    options = check_request(api.settings, "refresh", {"labels": LABELS})
    made = [enqueue(api.settings, lambda _messages: None, "refresh", options).job.id for _ in range(7)]
    listed = all_pages(api, "/v1/jobs", 3)
    assert [job["id"] for job in listed][:7] == made[::-1]
    assert listed[-1]["kind"] == "retrain"
    assert {job["state"] for job in api.get("/v1/jobs?kind=refresh&state=queued")["items"]} == {"queued"}
    assert api.get("/v1/jobs?kind=score")["items"] == []
    first = api("GET", "/v1/jobs?limit=2&kind=refresh")
    [target] = re.findall(r'<(/v1/jobs\?[^>]+)>; rel="next"', first.headers["Link"])
    assert [job["id"] for job in api.get(target)["items"]] == made[::-1][2:4]
    job = api.get(f"/v1/jobs/{made[0]}")
    assert (job["options"]["labels"], job["progress"], job["error"]) == (LABELS, 0.0, None)
    assert job["steps"][0]["state"] == "ready"


def test_models_snapshots_and_segments_are_shown(api: Api) -> None:
    [version] = api.get("/v1/models")["items"]
    shown = api.get("/v1/models/champion")
    assert (version["id"], version["state"], shown["champion"]) == (1, "champion", 1)
    assert shown == api.get(f"/v1/models/1?labels={LABELS}")
    assert shown["manifest"]["backbone"] == version["backbone"]
    assert api.get("/v1/models/1/card")["version"] == 1
    compared = api.get("/v1/models/1/compare?other=1")
    assert (compared["lead"], compared["one"], compared["other"]) == (0.0, 1, 1)
    [snapshot] = api.get("/v1/snapshots")["items"]
    details = api.get("/v1/snapshots/current")
    assert snapshot["current"]
    assert sum(segment["users"] for segment in details["segments"]) == snapshot["users"] == 240
    segments = api.get("/v1/segments")["items"]
    assert [row["segment"] for row in segments] == [row["segment"] for row in details["segments"]]
    assert api.get(f"/v1/segments?labels={LABELS}")["items"] == segments
    assert [report["snapshot_id"] for report in api.get("/v1/drift")["items"]] == [1]
    assert api.get("/v1/drift/current")["reference_id"] is None


@pytest.mark.parametrize("limit", [7, 100, 1000])
def test_every_member_of_a_snapshot_is_on_one_page(api: Api, limit: int) -> None:
    members = all_pages(api, "/v1/snapshots/1/members", limit)
    expected = assignments(api.settings, 1).collect()
    assert len({member["user_key"] for member in members}) == len(members) == expected.height
    segment = members[0]["segment"]
    in_segment = all_pages(api, "/v1/snapshots/1/members", limit, segment=segment)
    assert in_segment == [member for member in members if member["segment"] == segment]


def test_only_analysts_see_the_ids_of_users(api: Api) -> None:
    path = "/v1/snapshots/1/members?user_ids=true&limit=1000"
    assert api("GET", path, Scope.VIEWER).status_code == 403
    members = api.get(path, Scope.ANALYST)["items"]
    assert {member["user"] for member in members} == set(planted_users(api.settings)["user"])
    assert {member["user"] for member in api.get("/v1/snapshots/1/members", Scope.VIEWER)["items"]} == {None}
    entry = api.get("/v1/audit?action=snapshots.members")["items"][0]
    assert (entry["actor"], entry["details"]["user_ids"]) == ("key the analyst", True)


def test_a_user_is_shown_with_history_and_text(api: Api) -> None:
    user = api.get("/v1/users/user-3", Scope.VIEWER)
    assert [row["snapshot_id"] for row in user["history"]] == [1]
    assert api.get(f"/v1/users/{user['user_key']}") == user
    assert api("GET", "/v1/users/user-3/text", Scope.VIEWER).status_code == 403
    text = api.get("/v1/users/user-3/text", Scope.ANALYST)
    assert (text["user_key"], text["label_set"]) == (user["user_key"], LABELS)
    assert text["phrases"]
    entry = api.get("/v1/audit?action=users")["items"][0]
    assert (entry["subject"], entry["details"]["what"]) == (f"user {user['user_key']}", "text")
    answer = api("GET", "/v1/users/nobody-of-this-name")
    assert (answer.status_code, answer.json()["error"]) == (404, "UserNotFound")
    assert "nobody-of-this-name" not in answer.text + (api.settings.root / "web.log").read_text()


def test_plugins_label_sets_and_keys_are_listed(api: Api) -> None:
    assert [labels["name"] for labels in api.get("/v1/label-sets")["items"]] == [LABELS]
    assert api.get(f"/v1/label-sets/{LABELS}")["rows"] > 0
    kinds = {plugin["kind"] for plugin in api.get("/v1/plugins")["items"]}
    assert {"textualizer", "backbone", "labeler", "source"} <= kinds
    assert {plugin["kind"] for plugin in api.get("/v1/plugins?kind=source")["items"]} == {"source"}
    tabular = api.get("/v1/plugins/backbone/tabular")
    assert "rounds" in {option["name"] for option in tabular["options"]}
    assert "tabular" in {backbone["name"] for backbone in api.get("/v1/backbones")["items"]}
    keys = api.get("/v1/keys")["items"]
    assert {key["opens"] for key in keys} == set(Scope)
    assert not any("sha256" in key or "key" in key for key in keys)
    assert set(api.get("/v1/whoami", Scope.OPERATOR)["scopes"]) == {
        "pages",
        "segments",
        "viewer",
        "analyst",
        "operator",
    }


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_of_another_list_is_refused(api: Api, path: str) -> None:
    for cursor in ("1", "bnVsbA==", "WyJhIl0=", "W10=", "WzEsMiwzXQ==", "\u00e9", "W1tbW1tb", "WzFlOTld"):
        answer = api("GET", path, params={"cursor": cursor})
        assert answer.status_code == 422, (cursor, answer.text)
        assert answer.json()["detail"].startswith("cursor:")
    huge = "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2XQ=="  # [18446744073709551616]
    assert api("GET", path, params={"cursor": huge}).status_code == 422
    for limit in ("0", "1001", "-1", "ten", "9" * 5000):
        answer = api("GET", path, params={"limit": limit})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "limit")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/jobs/999", "JobNotFound"),
        ("/v1/models/999", "ModelNotFound"),
        ("/v1/models/champion?labels=none", "ModelNotFound"),
        ("/v1/snapshots/999", "SnapshotNotFound"),
        ("/v1/snapshots/999/members", "SnapshotNotFound"),
        ("/v1/snapshots/current?labels=none", "SnapshotNotFound"),
        ("/v1/label-sets/none", "LabelSetNotFound"),
        ("/v1/imports/999", "ImportNotFound"),
        ("/v1/schedules/none", "ScheduleNotFound"),
        ("/v1/plugins/backbone/none", "PluginNotFound"),
        ("/v1/plugins/none/none", "PluginNotFound"),
        ("/v1/drift/999", "SnapshotNotFound"),
        (f"/v1/jobs/{10**30}", None),
        ("/v1/jobs/-1", None),
        ("/v1/models/first", "ModelNotFound"),
        ("/v1/nothing", None),
        ("/v1/users/%F0%9F%92%A9%E2%80%AE", "UserNotFound"),
    ],
)
def test_what_is_not_there_is_404(api: Api, path: str, error: str | None) -> None:
    answer = api("GET", path)
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["error"]) == (404, error)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/jobs?state=dead", "state.0"),
        ("/v1/jobs?kind=%00", "kind.0"),
        ("/v1/snapshots/1/members?min_probability=nan", "min_probability"),
        ("/v1/snapshots/1/members?min_probability=2", "min_probability"),
        ("/v1/quarantine?import=0", "import"),
        (f"/v1/quarantine?reason={'x' * 201}", "reason"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, path: str, field: str) -> None:
    answer = api("GET", path)
    assert answer.status_code == 422, answer.text
    assert [problem["field"] for problem in answer.json()["errors"]] == [field]
    assert answer.json()["detail"].startswith(f"{field}: ")


def test_what_cannot_be_done_says_why(api: Api) -> None:
    answer = api("GET", "/v1/snapshots/current/diff")
    assert (answer.status_code, "is the first of" in answer.json()["detail"]) == (422, True)
    answer = api("GET", "/v1/snapshots/1/members?segment=lou")
    assert (answer.status_code, "no segment 'lou'" in answer.json()["detail"]) == (422, True)


def test_a_request_has_an_id_in_answers_and_the_log(api: Api) -> None:
    answer = api("GET", "/v1/jobs/999", headers={"X-Request-Id": "shop-17.a"})
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == "shop-17.a"
    lines = [line for line in (api.settings.root / "web.log").read_text().splitlines() if "shop-17.a" in line]
    assert len(lines) == 1
    assert "/v1/jobs/999" in lines[0]
    for odd in ("a b", "x" * 65, "\u00e9".encode(), "a\tb", ""):
        made = api("GET", "/v1/jobs/999", headers={"X-Request-Id": odd}).json()["request_id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
