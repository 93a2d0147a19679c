"""Canaries and the server's own state over HTTP."""

from __future__ import annotations

import segadmin
from segadmin.storage.records import Scope
from tests.api import Api
from tests.planted import LABELS, retrain


def test_a_canary_is_listed_shown_and_stopped_once(api: Api) -> None:
    assert api.get("/v1/models/canary")["items"] == []
    retrain(api.settings, seed=5, canary="40%").all()
    retrain(api.settings, seed=6, canary="30%").all()
    second, first = api.get("/v1/models/canary", Scope.VIEWER)["items"]
    assert (first["state"], second["state"], second["label_set"]) == ("stopped", "running", LABELS)
    assert second["comparison"]["compared"] > 30
    assert "salt" not in second, "it says who is in the canary"
    assert [row["id"] for row in api.get("/v1/models/canary?state=running")["items"]] == [second["id"]]
    page = api.get("/v1/models/canary?limit=1")
    assert [row["id"] for row in api.get(f"/v1/models/canary?cursor={page['next']}")["items"]] == [first["id"]]
    path = f"/v1/models/canary/{second['id']}"
    assert api.get(path)["challenger_id"] == second["challenger_id"]
    stopped = api("POST", f"{path}/stop", Scope.OPERATOR, json={"reason": "complaints"})
    assert (stopped.status_code, stopped.json()["state"], stopped.json()["reason"]) == (200, "stopped", "complaints")
    again = api("POST", f"{path}/stop", json={"reason": "twice"})
    assert (again.status_code, again.json()["error"]) == (412, "Stale")
    assert "is stopped already: complaints" in again.json()["detail"]
    [entry] = api.get("/v1/audit?action=models.canary.stop&actor=key the operator")["items"]
    assert entry["details"]["reason"] == "complaints"
    assert api.get("/v1/audit?actor=key nobody")["items"] == []
    missing = api("GET", "/v1/models/canary/99")
    assert (missing.status_code, missing.json()["error"]) == (404, "CanaryNotFound")


def test_the_client_knows_canaries(api: Api) -> None:
    with segadmin.Client(api.url, api.keys[Scope.OPERATOR]) as client:
        listed = client.list_canaries(labels=LABELS).items
        assert [client.show_canary(row.id).id for row in listed] == [row.id for row in listed]


def test_a_schedule_with_an_objective(api: Api) -> None:
    live = {"kind": "refresh", "options": {"labels": LABELS}, "freshness_seconds": 60}
    made = api("PUT", "/v1/schedules/live", Scope.OPERATOR, json=live)
    assert (made.status_code, made.json()["freshness_seconds"]) == (200, 60), made.text
    assert made.json()["options"]["time"] == "on-event"
    seen = made.headers["ETag"]
    changed = api("PUT", "/v1/schedules/live", json={**live, "freshness_seconds": 90}, headers={"If-Match": seen})
    assert changed.status_code == 200
    assert api("DELETE", "/v1/schedules/live", headers={"If-Match": seen}).status_code == 412
    every = api("PUT", "/v1/schedules/stream", json={**live, "freshness_seconds": None, "cron": "@every 30s"})
    assert every.status_code == 200
    for wrong in ({"freshness_seconds": None}, {"kind": "compact", "options": {}}, {"cron": "@every 1y"}):
        answer = api("PUT", "/v1/schedules/odd", json={**live, **wrong})
        assert answer.status_code == 422, answer.text
    for name in ("live", "stream"):
        assert api("DELETE", f"/v1/schedules/{name}").status_code == 204


def test_the_settings_and_the_checks_of_the_server(api: Api) -> None:
    rows = {row["name"]: row for row in api.get("/v1/settings")["items"]}
    assert rows["home"]["source"] == "environment"
    assert (rows["buckets"]["source"], rows["buckets"]["variable"]) == ("default", "SEGADMIN_BUCKETS")
    assert api("GET", "/v1/settings", Scope.OPERATOR).status_code == 403
    findings = {row["what"]: row for row in api("POST", "/v1/doctor").json()["items"]}
    assert findings["database"]["level"] == "ok"
    assert str(api.settings.root) in findings["store"]["detail"], "of the home of the server"
