"""Jobs, schedules, champions and users changed over HTTP: once each, by whom it was, and not over others' changes."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from sqlmodel import col, select

from segadmin.jobs import bulk
from segadmin.jobs.enqueue import RESERVED, enqueue
from segadmin.jobs.requests import check_request
from segadmin.jobs.run import run_step
from segadmin.jobs.selection import JobSelection
from segadmin.models.importing import JOB_KIND
from segadmin.models.registry import promote_version
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.database import transaction
from segadmin.storage.records import ApiKey, Job, JobState, ModelState, ModelVersion, Scope, Step, StepState, utcnow
from segadmin_api.http.v1.routing import MOST_BYTES
from tests.api import Api
from tests.planted import LABELS, through_the_engine
from tests.servers import wait_until, web_server

REFRESH = {"kind": "refresh", "options": {"labels": LABELS}}


def audit(api: Api, action: str) -> dict[str, Any]:
    """Return the newest entry of an action."""
    return dict(api.get(f"/v1/audit?action={action}&limit=1")["items"][0])


def another_version(api: Api) -> int:
    """Save a copy of version 1 as a challenger, and return its number; no job is changing the champion."""
    api("POST", "/v1/jobs/cancel", json={"states": ["queued", "running"]})
    settings = api.settings
    with transaction(settings) as session:
        first = session.get_one(ModelVersion, 1)
        facts = first.model_dump(exclude={"id", "promoted_at"}) | {"state": ModelState.CHALLENGER}
        copy = ModelVersion(**facts)
        session.add(copy)
        session.flush()
        assert copy.id is not None
        return copy.id


def test_a_repeated_request_enqueues_one_job(api: Api) -> None:
    def ask(_: int) -> tuple[int, int]:
        answer = httpx.post(
            f"{api.url}/v1/jobs",
            json=REFRESH,
            headers={"Authorization": f"Bearer {api.keys[Scope.OPERATOR]}", "Idempotency-Key": "night-17"},
            timeout=60,
        )
        return answer.status_code, answer.json()["job"]

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(ask, range(16)))
    assert sorted(status for status, _ in answers) == [200] * 15 + [201]
    assert len({job for _, job in answers}) == 1
    entry = audit(api, "jobs.enqueue")
    assert (entry["actor"], entry["subject"]) == ("key the operator", f"job {answers[0][1]}")
    other = api("POST", "/v1/jobs", json={"kind": "refresh"}, headers={"Idempotency-Key": "night-17"})
    assert (other.status_code, other.json()["error"]) == (409, "KeyReused")


@pytest.mark.parametrize("begin", [*RESERVED, f"{JOB_KIND}:"])
def test_nobody_takes_the_key_of_a_slot_an_upload_or_an_import(api: Api, begin: str) -> None:
    """The job of the slot would never run: one with its key is there already."""
    body = {"snapshot": 1, "segment": "high"}
    answer = api("POST", "/v1/exports", Scope.ANALYST, json=body, headers={"Idempotency-Key": f"{begin}nightly:2026"})
    assert (answer.status_code, "Take another" in answer.json()["detail"]) == (422, True)


def test_a_job_is_saved_while_the_broker_is_down(api: Api) -> None:
    answer = api("POST", "/v1/jobs", json={"kind": "compact"})
    assert (answer.status_code, answer.json()["dispatched"]) == (201, False)
    shown = api.get(answer.headers["Location"])
    assert (shown["kind"], shown["state"]) == ("compact", "queued")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"kind": "refresh", "options": {"labls": LABELS}}, "no option 'labls'"),
        ({"kind": "refresh", "options": {"labels": "none"}}, "There is no champion for 'none'"),
        ({"kind": "refersh"}, "Did you mean 'refresh'?"),
        ({"kind": "refresh", "priority": 10}, "priority: "),
        ({"kind": "refresh", "options": []}, "options: "),
        ({"kind": "refresh", "extra": 1}, "extra: "),
        ({}, "kind: "),
        ([], "the body: "),
        (
            {"kind": "retrain", "options": {"tracker_options": {"uri": "http://bob:s3cret@m"}}},
            "passwords are not",
        ),
    ],
)
def test_what_cannot_be_enqueued_says_why(api: Api, body: Any, message: str) -> None:
    answer = api("POST", "/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    assert message in answer.json()["detail"]
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"kind": "a\\u0000b"}', 422),
        (b'{"kind": "refresh", "priority": NaN}', 422),
        (b'{"kind": "\\ud800"}', 422),
        (b'{"kind": "refresh", "priority": 1' + b"0" * 5000 + b"}", 422),
        (b"[" * 200_000, 422),
        (b"\xff\xfe", 422),
        (b"", 422),
        (b" " * (MOST_BYTES + 1), 413),
    ],
)
def test_a_body_that_cannot_be_stored_is_refused(api: Api, body: bytes, status: int) -> None:
    answer = api("POST", "/v1/jobs", content=body)
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_without_an_end_is_bounded(api: Api) -> None:
    place = urlsplit(api.url)
    with socket.create_connection((place.hostname or "", place.port or 0), 30) as client:
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {api.keys[Scope.OPERATOR]}\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        try:
            for _ in range(200):
                client.sendall(chunk)
        except OSError:
            pass
        assert b" 413 " in client.recv(65536).split(b"\r\n")[0]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"])
def test_json_is_read_whatever_its_content_type(api: Api, kind: str) -> None:
    answer = api("POST", "/v1/jobs", content=b'{"kind": "compact"}', headers={"Content-Type": kind})
    assert answer.status_code == 201


def test_compressed_bodies_are_refused(api: Api) -> None:
    answer = api("POST", "/v1/jobs", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


@pytest.mark.parametrize("kind", ["ingest", "retain"])
def test_only_admins_let_workers_read_files_or_delete_events(api: Api, kind: str) -> None:
    body = {"kind": kind, "options": {"where": "/etc/passwd"} if kind == "ingest" else {"keep_days": "400d"}}
    assert api("POST", "/v1/jobs", Scope.OPERATOR, json=body).status_code == 403
    schedule = {**body, "cron": "0 3 * * *"}
    assert api("PUT", "/v1/schedules/odd", Scope.OPERATOR, json=schedule).status_code == 403
    assert api("POST", "/v1/jobs", Scope.ADMIN, json=body).status_code == 201
    assert api("PUT", "/v1/schedules/odd", json=schedule).status_code == 200
    assert api("POST", "/v1/schedules/odd/run", Scope.OPERATOR).status_code == 403
    assert api("POST", "/v1/schedules/odd/run").status_code == 201
    assert api("DELETE", "/v1/schedules/odd").status_code == 204


def test_only_admins_let_workers_connect_anywhere(api: Api) -> None:
    options = {"trackers": ["mlflow"], "tracker_options": {"mlflow.uri": "http://169.254.169.254/"}}
    body = {"kind": "retrain", "options": options}
    for method, path, more in (("POST", "/v1/jobs", {}), ("PUT", "/v1/schedules/odd", {"cron": "0 3 * * *"})):
        refused = api(method, path, Scope.OPERATOR, json=body | more)
        assert (refused.status_code, "tracker_options needs a key for admin" in refused.text) == (403, True), path
        assert api(method, path, Scope.ADMIN, json=body | more).status_code != 403, path
    api("DELETE", "/v1/schedules/odd")


def test_a_schedule_is_run_once_with_a_key(api: Api) -> None:
    weekly = {"kind": "compact", "options": {}, "cron": "0 3 * * 1"}
    assert api("PUT", "/v1/schedules/weekly", json=weekly).status_code == 200
    key = {"Idempotency-Key": "run-1"}
    first, again = (api("POST", "/v1/schedules/weekly/run", headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["job"], again.json()["created"]) == (first.json()["job"], False)
    other = api("POST", "/v1/schedules/weekly/run", headers={"Idempotency-Key": "run-2"})
    assert (other.status_code, other.json()["job"] > first.json()["job"]) == (201, True)
    assert api("POST", "/v1/schedules/weekly/run", headers={"Idempotency-Key": "schedule:x"}).status_code == 422
    weekly = {"kind": "deliver", "options": {"labels": LABELS}, "cron": "0 3 * * 1"}
    assert api("PUT", "/v1/schedules/weekly", json=weekly).status_code == 200
    assert api("POST", "/v1/schedules/weekly/run", headers=key).json()["error"] == "KeyReused"
    assert api("DELETE", "/v1/schedules/weekly").status_code == 204


def test_a_feed_is_delivered_once_with_a_key(api: Api) -> None:
    stream = {"url": "redis://127.0.0.1:9/0", "stream": "once"}
    feed = {"name": "once", "kind": "redis-stream", "options": stream, "labels": LABELS}
    assert api("POST", "/v1/feeds", json=feed).status_code == 201
    key = {"Idempotency-Key": "deliver-1"}
    first, again = (api("POST", "/v1/feeds/once/deliver", headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json()["job"], again.json()["created"]) == (first.json()["job"], False)
    assert api("DELETE", "/v1/feeds/once").status_code == 204


def test_a_job_is_cancelled_and_retried(api: Api) -> None:
    number = api("POST", "/v1/jobs", json=REFRESH).json()["job"]
    cancelled = api("POST", f"/v1/jobs/{number}/cancel").json()
    assert (cancelled["state"], {step["state"] for step in cancelled["steps"]}) == ("cancelled", {"cancelled"})
    entry = audit(api, "jobs.cancel")
    assert (entry["actor"], entry["details"]) == ("key the admin", {"before": "queued", "after": "cancelled"})
    again = api("POST", f"/v1/jobs/{number}/cancel")
    assert (again.status_code, again.json()["error"]) == (409, "InvalidTransition")
    retried = api("POST", f"/v1/jobs/{number}/retry", json={"from_start": True})
    assert (retried.status_code, retried.json()["job"]["state"]) == (200, "queued")
    assert audit(api, "jobs.retry")["details"]["before"] == "cancelled"
    assert api("POST", f"/v1/jobs/{number}/retry").status_code == 409


def test_jobs_of_a_filter_are_cancelled_and_failures_listed(api: Api) -> None:
    deliver = {"kind": "deliver", "options": {"labels": LABELS}}
    made = [api("POST", "/v1/jobs", json=deliver).json()["job"] for _ in range(4)]
    api("POST", f"/v1/jobs/{made[0]}/cancel")
    answer = api("POST", "/v1/jobs/cancel", json={"numbers": [*made[:2], 9999]}).json()
    assert (answer["done"], answer["failed"]) == (1, 2)
    assert {failure["job"] for failure in answer["failures"]} == {made[0], 9999}
    answer = api("POST", "/v1/jobs/cancel", json={"kinds": ["deliver"], "first": made[0]}).json()
    assert answer == {"done": 2, "failed": 0, "failures": []}
    states = [job["state"] for job in api.get("/v1/jobs?kind=deliver")["items"] if job["id"] in made]
    assert states == ["cancelled"] * 4
    assert audit(api, "jobs.cancel")["details"]["jobs"] == 2
    retried = api("POST", "/v1/jobs/retry", json={"numbers": made}).json()
    assert (retried["done"], retried["failed"]) == (4, 0)
    empty = api("POST", "/v1/jobs/cancel", json={})
    assert (empty.status_code, "the filter is empty" in empty.json()["detail"]) == (422, True)


def test_many_jobs_are_cancelled_with_their_steps(any_database: Settings) -> None:
    settings = any_database
    database.upgrade(settings)
    with transaction(settings) as session:
        ended = [JobState.SUCCEEDED if n % 100 == 0 else JobState.QUEUED for n in range(12_000)]
        jobs = [Job(kind="refresh", state=state) for state in ended]
        session.add_all(jobs)
        session.flush()
        ready = {"stage": "publish", "queue": "cpu", "state": StepState.READY}
        session.add_all(Step(job_id=job.id or 0, **ready) for job in jobs[:20])
    states = (JobState.QUEUED, JobState.SUCCEEDED)
    result = bulk.cancel_all(settings, lambda _messages: None, JobSelection(kinds=("refresh",), states=states))
    assert (result.done, len(result.failures)) == (11_880, 120)
    assert "is succeeded" in result.failures[0].reason
    with transaction(settings) as session:
        assert not session.exec(select(Job).where(Job.state == JobState.QUEUED)).first()
        steps = session.exec(select(Step).order_by(col(Step.id))).all()
        assert [step.state for step in steps] == [StepState.READY, *[StepState.CANCELLED] * 19]
        assert {step.token for step in steps[1:]} == {1}, "a worker that runs it must notice"


def test_a_champion_is_changed_only_by_who_has_seen_it(api: Api) -> None:
    other = another_version(api)
    seen = api("GET", f"/v1/models/{other}").headers["ETag"]
    assert seen == api("GET", "/v1/models/champion").headers["ETag"] == '"champion-1"'
    assert api("POST", f"/v1/models/{other}/promote").status_code == 428
    done = api("POST", f"/v1/models/{other}/promote", headers={"If-Match": seen}, json={"reason": "better"})
    assert (done.status_code, done.json()["champion"], done.json()["before"]) == (200, other, 1)
    entry = audit(api, "models.promote")
    assert (entry["details"]["before"], entry["details"]["after"], entry["details"]["reason"]) == (1, other, "better")
    stale = api("POST", "/v1/models/1/promote", headers={"If-Match": seen})
    assert (stale.status_code, stale.json()["error"]) == (412, "Stale")
    assert api("POST", "/v1/models/1/promote", headers={"If-Match": '"odd"'}).status_code == 412
    now = api("GET", "/v1/models/champion").headers["ETag"]
    back = api("POST", "/v1/models/rollback", headers={"If-Match": now})
    assert (back.status_code, back.json()["champion"]) == (200, 1)
    assert audit(api, "models.rollback")["actor"] == "key the admin"


def test_of_two_who_promote_at_once_one_wins(api: Api) -> None:
    first, second = another_version(api), another_version(api)
    seen = api("GET", "/v1/models/champion").headers["ETag"]

    def promote(version: int) -> int:
        headers = {"Authorization": f"Bearer {api.keys[Scope.OPERATOR]}", "If-Match": seen}
        return httpx.post(f"{api.url}/v1/models/{version}/promote", headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(2) as clients:
        statuses = list(clients.map(promote, (first, second)))
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 412, 409}
    winner = (first, second)[statuses.index(200)]
    assert api.get("/v1/models/champion")["id"] == winner
    promote_version(api.settings, "1")  # as the other tests expect


def test_a_schedule_is_changed_only_by_who_has_seen_it(api: Api) -> None:
    path = "/v1/schedules/夜间 refresh"
    wanted = {"cron": "0 3 * * *", "timezone": "Asia/Shanghai", **REFRESH}
    made = api("PUT", path, json=wanted, headers={"If-None-Match": "*"})
    assert (made.status_code, made.json()["timezone"]) == (200, "Asia/Shanghai")
    assert api("PUT", path, json=wanted, headers={"If-None-Match": "*"}).status_code == 412
    seen = api("GET", path).headers["ETag"]
    assert seen == made.headers["ETag"]
    changed = api("PUT", path, json={**wanted, "cron": "0 4 * * *"}, headers={"If-Match": seen})
    assert changed.status_code == 200
    entry = audit(api, "schedules.add")
    assert (entry["details"]["before"]["cron"], entry["details"]["after"]["cron"]) == ("0 3 * * *", "0 4 * * *")
    assert api("PUT", path, json=wanted, headers={"If-Match": seen}).status_code == 412
    assert api("DELETE", path, headers={"If-Match": seen}).status_code == 412
    assert api("POST", f"{path}/pause").json()["paused"] is True
    assert api("POST", f"{path}/resume").json()["paused"] is False
    run = api("POST", f"{path}/run")
    assert (run.status_code, run.json()["kind"]) == (201, "refresh")
    assert api.get(path)["last_job_id"] == run.json()["job"]
    assert [schedule["name"] for schedule in api.get("/v1/schedules")["items"]] == ["夜间 refresh"]
    assert api("DELETE", path).status_code == 204
    assert api("DELETE", path).status_code == 404
    for wrong, message in (({"cron": "0 0 31 2 *"}, "cron"), ({"timezone": "Mars"}, "Mars"), ({"kind": "odd"}, "odd")):
        answer = api("PUT", path, json={**wanted, **wrong})
        assert (answer.status_code, message in answer.json()["detail"]) == (422, True)


def test_labels_are_derived(api: Api) -> None:
    before = api.get(f"/v1/label-sets/{LABELS}")
    options = before["definition"]["options"]
    derived = api("PUT", "/v1/label-sets/again", json={"labeler": "future-spend", "options": options})
    assert (derived.status_code, derived.json()["rows"]) == (200, before["rows"])
    facts = {"labeler": "future-spend", "rows": before["rows"]}
    assert audit(api, "labels.derive")["details"] == {"before": None, "after": facts}
    answer = api("PUT", "/v1/label-sets/again", json={"labeler": "future-spent"})
    assert (answer.status_code, "Did you mean 'future-spend'?" in answer.json()["detail"]) == (422, True)


def test_a_user_is_erased(api: Api) -> None:
    api("POST", "/v1/jobs/cancel", json={"states": ["queued", "running"]})
    key = api.get("/v1/users/user-7")["user_key"]
    assert api("DELETE", "/v1/users/user-7", Scope.OPERATOR).status_code == 403
    erased = api("DELETE", "/v1/users/user-7")
    assert (erased.status_code, erased.json()["user_key"]) == (200, key)
    assert erased.json()["rows"]["assignments"] == 1
    assert api("GET", "/v1/users/user-7").status_code == 404
    assert api("DELETE", "/v1/users/user-7").status_code == 404
    entry = audit(api, "data.forget")
    assert entry["actor"] == "key the admin"
    assert key not in json.dumps(entry)
    members = api.get("/v1/snapshots/1/members?limit=1000")["items"]
    assert key not in {member["user_key"] for member in members}


def events_of(response: httpx.Response) -> list[dict[str, str]]:
    """Return the events of a stream that ended."""
    events = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            events.append(fields)
    return events


def test_progress_is_streamed_to_the_end_of_the_job(api: Api) -> None:
    options = check_request(api.settings, "compact", {})
    waiting = enqueue(api.settings, lambda _messages: None, "compact", options).job.id
    with ThreadPoolExecutor(1) as threads:
        stream = threads.submit(httpx.get, f"{api.url}/v1/jobs/{waiting}/events", headers=_bearer(api), timeout=60)
        with httpx.stream("GET", f"{api.url}/v1/jobs/{waiting}/events", headers=_bearer(api), timeout=60) as first:
            assert first.headers["content-type"].startswith("text/event-stream")
            lines = first.iter_lines()
            while not next(lines).startswith("data: "):
                pass
        api("POST", f"/v1/jobs/{waiting}/cancel")
        events = events_of(stream.result(60))
    assert [event["event"] for event in events][-1] == "end"
    assert [json.loads(event["data"])["state"] for event in events][-1] == "cancelled"
    assert len({event["id"] for event in events}) == len(events)
    again = httpx.get(f"{api.url}/v1/jobs/{waiting}/events", headers=_bearer(api) | {"Last-Event-ID": events[-1]["id"]})
    assert again.status_code == 204, "an EventSource does not connect again"
    anew = httpx.get(f"{api.url}/v1/jobs/{waiting}/events", headers=_bearer(api) | {"Last-Event-ID": "odd"})
    assert [event["event"] for event in events_of(anew)] == ["end"]
    assert api("GET", "/v1/jobs/9999/events").status_code == 404


def test_a_finished_job_streams_its_end(api: Api) -> None:
    job = through_the_engine(api.settings, "compact", check_request(api.settings, "compact", {}))
    [event] = events_of(httpx.get(f"{api.url}/v1/jobs/{job}/events", headers=_bearer(api), timeout=60))
    assert (event["event"], json.loads(event["data"])["state"]) == ("end", "succeeded")


def test_streams_are_bounded(shop: Settings) -> None:
    job = enqueue(shop, lambda _messages: None, "compact", check_request(shop, "compact", {})).job.id
    with web_server(shop, SEGADMIN_WEB_STREAMS="1") as url:
        bearer = {"Authorization": f"Bearer {api_keys.create(shop, 'one', Scope.VIEWER)}"}

        def ask() -> int:
            with httpx.stream("GET", f"{url}/v1/jobs/{job}/events", headers=bearer, timeout=60) as answer:
                return answer.status_code

        with httpx.stream("GET", f"{url}/v1/jobs/{job}/events", headers=bearer, timeout=60) as first:
            lines = first.iter_lines()
            while not next(lines).startswith("data: "):
                pass
            assert ask() == 429
        wait_until(lambda: ask() == 200, 20, "the first stream is closed")


@pytest.mark.parametrize("end", ["revoke", "expire"])
def test_a_stream_ends_with_its_key(api: Api, end: str) -> None:
    job = enqueue(api.settings, lambda _messages: None, "compact", check_request(api.settings, "compact", {})).job.id
    bearer = {"Authorization": f"Bearer {api_keys.create(api.settings, end, Scope.VIEWER)}"}
    with httpx.stream("GET", f"{api.url}/v1/jobs/{job}/events", headers=bearer, timeout=60) as stream:
        lines = stream.iter_lines()
        while not next(lines).startswith("data: "):
            pass
        if end == "revoke":
            api_keys.revoke(api.settings, end)
            api_keys.create(api.settings, end, Scope.VIEWER)  # another of its name keeps nothing open
        else:
            with transaction(api.settings) as session:
                session.get_one(ApiKey, end).expires_at = utcnow()
        assert [line for line in lines if line.startswith("data: ")] == []
    assert api("POST", f"/v1/jobs/{job}/cancel").status_code == 200, "it was not the job that ended it"


def test_a_snapshot_is_exported_by_a_job(api: Api) -> None:
    asked = api("POST", "/v1/exports", Scope.ANALYST, json={"snapshot": 1, "segment": "high", "with_user_ids": True})
    job = asked.json()["job"]
    assert asked.status_code == 201
    early = api("GET", f"/v1/exports/{job}/file", Scope.ANALYST)
    assert (early.status_code, early.json()["detail"]) == (409, f"Job {job} is queued; it has no file.")
    steps = [step["id"] for step in api.get(f"/v1/jobs/{job}")["steps"]]
    for step in steps:
        run_step(api.settings, lambda _messages: None, step, "me")
    sent = api("GET", f"/v1/exports/{job}/file", Scope.ANALYST)
    assert (sent.status_code, sent.headers["content-type"].partition(";")[0]) == (200, "text/csv")
    header, *rows = sent.content.decode("utf-8-sig").splitlines()
    assert header.startswith("user,segment,probability,")
    high = next(segment["users"] for segment in api.get("/v1/segments")["items"] if segment["segment"] == "high")
    assert len(rows) == high
    assert all(row.startswith("user-") for row in rows)
    entry = audit(api, "snapshots.export")
    assert (entry["actor"], entry["details"]) == ("key the analyst", {"rows": high, "user_ids": True})
    path = api.get(f"/v1/jobs/{job}")["steps"][0]["result"]["file"]["path"]
    (api.settings.store_path / path).unlink()
    assert api("GET", f"/v1/exports/{job}/file").status_code == 404
    assert api("POST", f"/v1/jobs/{job}/retry").status_code == 409
    other = api("POST", "/v1/jobs", json={"kind": "compact"}).json()["job"]
    assert api("GET", f"/v1/exports/{other}/file").status_code == 404
    for wrong, message in (
        ({"segment": "hihg"}, "Did you mean 'high'?"),
        ({"snapshot": 99}, "no published snapshot '99'"),
    ):
        answer = api("POST", "/v1/exports", json={"snapshot": 1} | wrong)
        assert (answer.status_code, message in answer.json()["detail"]) == (422, True)


def _bearer(api: Api) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.keys[Scope.VIEWER]}"}
