"""What the pages, the API and the command line say of one job: its cost before, its log after, and its forms."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.run import run_step
from segadmin.storage.records import Scope
from tests.api import Api
from tests.conftest import Cli
from tests.planted import LABELS
from tests.servers import web_server

PLUGIN = '''
from pydantic import Field

from segadmin.jobs.registry import Request, Stage, Workflow, register


class Wanted(Request):
    """What a job of the plugin is asked."""

    greeting: str = Field(description="What it says: <b>anything</b>.")
    times: int = Field(1, ge=1, le=5, description="How often.")


register(Workflow("greet", Wanted, (Stage("greet", print),), "Say something <i>nice</i>."))
'''


@pytest.fixture(scope="module")
def done(api: Api) -> int:
    """The number of a job that a worker has done."""
    messages: list[StepMessage] = []
    job = enqueue(api.settings, messages.extend, "compact", {}).job.id or 0
    level, root = logging.getLogger().level, logging.getLogger()
    root.setLevel(logging.INFO)
    try:
        run_step(api.settings, messages.extend, messages[0].step_id, "me")
    finally:
        root.setLevel(level)
    return job


def test_the_log_of_a_job_over_http(api: Api, done: int) -> None:
    lines = api.get(f"/v1/jobs/{done}/logs", Scope.VIEWER)["items"]
    assert [line["message"] for line in lines][:2] == ["step claimed", "step finished"]
    assert (lines[0]["stage"], lines[0]["facts"]["action"], lines[0]["level"]) == ("compact", "claim", "INFO")
    step = lines[0]["step"]
    assert api.get(f"/v1/jobs/{done}/logs?step={step}&stage=compact")["items"] == lines
    assert len(api.get(f"/v1/jobs/{done}/logs?limit=1")["items"]) == 1
    assert api("GET", "/v1/jobs/999/logs").json()["error"] == "JobNotFound"
    missing = api("GET", f"/v1/jobs/{done}/logs?stage=nothing")
    assert (missing.status_code, "has no stage 'nothing'" in missing.json()["detail"]) == (404, True)
    assert api("GET", f"/v1/jobs/{done}/logs?limit=0").status_code == 422
    assert api.get(f"/v1/jobs/{done}")["steps"][0]["memory_bytes"] > 2**20


def test_what_a_job_will_take_over_http(api: Api, done: int) -> None:
    cost = api("POST", "/v1/jobs/estimate", Scope.OPERATOR, json={"kind": "compact"}).json()
    assert (cost["jobs"], cost["likeness"]) == ([done], "options")
    assert cost["seconds"]["low"] <= cost["seconds"]["median"] <= cost["seconds"]["high"]
    assert cost["memory_bytes"]["median"] > 2**20
    unknown = api("POST", "/v1/jobs/estimate", Scope.OPERATOR, json={"kind": "refresh", "options": {"labels": LABELS}})
    assert (unknown.json()["jobs"], unknown.json()["seconds"]) == ([], None)
    for body, status in (
        ({"kind": "nothing"}, 422),
        ({"kind": "refresh", "options": {"labels": "nothing"}}, 422),
        ({"kind": "ingest", "options": {"where": "x"}}, 403),
        ({"kind": "compact", "priority": 3}, 422),
    ):
        assert api("POST", "/v1/jobs/estimate", Scope.OPERATOR, json=body).status_code == status, body


def test_the_commands_read_a_server_as_this_machine(api: Api, done: int, cli: Cli) -> None:
    here = {"SEGADMIN_HOME": str(api.settings.root)}
    there = {"SEGADMIN_SERVER": api.url, "SEGADMIN_KEY": api.keys[Scope.OPERATOR]}
    logs = [cli("jobs", "logs", str(done), **where).stdout for where in (here, there)]
    assert logs[0] == logs[1]
    assert re.search(r"INFO compact/\d+: step claimed action=claim", logs[0])
    assert json.loads(cli("jobs", "logs", str(done), "--limit", "1", "--json", **here).stdout)[0]["stage"] == "compact"
    refused = cli("jobs", "logs", str(done), "--step", "999", check=False, **here)
    assert (refused.returncode, f"Job {done} has no step 999" in refused.stderr) == (1, True)
    costs = [cli("enqueue", "compact", "--estimate", **where).stdout for where in (here, there)]
    assert costs[0] == costs[1]
    assert f"Past jobs with like options: {done}." in costs[0]
    assert json.loads(cli("enqueue", "compact", "--estimate", "--json", **here).stdout)["jobs"] == [done]
    assert "nothing is known" in cli("enqueue", "refresh", "--labels", LABELS, "--estimate", **here).stdout
    assert [job["id"] for job in api.get("/v1/jobs?kind=compact")["items"]] == [done], "nothing was enqueued"


class Session:
    """A browser that has logged in, without scripts."""

    def __init__(self, url: str, key: str) -> None:
        self.client = httpx.Client(base_url=url, follow_redirects=True, headers={"Accept": "text/html"}, timeout=30)
        self.client.post("/login", data={"csrf_token": self._token("/login"), "key": key, "next": "/jobs"})
        self.token = self._token("/jobs")

    def _token(self, path: str) -> str:
        return re.findall(r'name="csrf_token" value="([^"]+)"', self.client.get(path).text)[0]

    def send(self, path: str, **fields: object) -> httpx.Response:
        return self.client.post(path, data={"csrf_token": self.token, **fields})


@pytest.fixture
def session(api: Api) -> Iterator[Session]:
    session = Session(api.url, api.keys[Scope.OPERATOR])
    yield session
    session.client.close()


def test_a_form_makes_one_job_however_often_it_is_sent(api: Api, session: Session) -> None:
    opened = session.client.get("/jobs/new/refresh")
    [key] = re.findall(r'name="key" value="(\w+)"', opened.text)
    assert str(opened.url).endswith(f"?key={key}")
    sent = [session.send("/jobs/new/refresh", key=key, **{"option.labels": LABELS}) for _ in range(3)]
    assert len({str(answer.url) for answer in sent}) == 1
    assert "it starts when the broker is back" in sent[0].text
    assert "nothing new was enqueued" in sent[2].text
    other = session.send("/jobs/new/refresh", key=key, **{"option.labels": LABELS, "option.hysteresis": "true"})
    assert (other.status_code, "This form was sent already, with other values" in other.text) == (409, True)
    [fresh] = re.findall(r'name="key" value="(\w+)"', other.text)
    assert fresh != key
    assert len(api.get("/v1/jobs?kind=refresh")["items"]) == 1


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"option.labels": "nothing"}, 422, "There is no champion for &#39;nothing&#39;"),
        ({"option.policy": "sometimes"}, 422, "Input should be"),
        ({"option.max_age_days": "soon"}, 422, "is no length of time"),
        ({"option.labels": LABELS, "priority": "11"}, 422, "is not a number from 0 to 9"),
        ({"option.backbone_options": "x"}, 422, "&#39;x&#39; is not name=value"),
        ({"option.backbone_options": "url=http://bob:s3cret@shop"}, 422, "passwords are not"),
        ({"option.labels": "a\x00b"}, 422, "NUL character"),
    ],
)
def test_what_is_wrong_in_a_form_is_said(session: Session, fields: dict[str, str], status: int, words: str) -> None:
    answer = session.send("/jobs/new/refresh", **fields)
    assert answer.status_code == status
    assert words in answer.text


def test_who_may_ask_for_what(api: Api, session: Session) -> None:
    assert "It needs a key with the role admin." in session.client.get("/jobs/new").text
    assert session.client.get("/jobs/new/ingest").status_code == 403
    assert session.send("/jobs/new/ingest", **{"option.where": "x"}).status_code == 403
    assert session.client.get("/jobs/new/nothing").status_code == 404
    assert session.client.get("/jobs/new/refresh?key=<script>").status_code == 404
    assert session.send("/jobs/bulk", do="cancel").status_code == 422
    assert session.send("/jobs/bulk", do="delete", job="1").status_code == 422
    assert session.client.get("/jobs?state=asleep").status_code == 422
    assert session.send("/jobs/bulk", do="cancel", job="999").text.count("There is no job 999") == 1


def test_a_refused_option_keeps_the_form(session: Session) -> None:
    fields = {"option.labels": "mine", "option.tracker_options": "mlflow.uri=http://mlflow", "priority": "7"}
    answer = session.send("/jobs/new/retrain", **fields)
    assert answer.status_code == 403
    assert 'name="priority" min="0" max="9" step="1" value="7"' in answer.text
    assert 'value="mine"' in answer.text and "mlflow.uri=http://mlflow</textarea>" in answer.text
    assert 'id="option-tracker_options-error">The option tracker_options needs a key for admin' in answer.text


def test_all_that_match_are_those_that_were_there(api: Api, session: Session) -> None:
    before = [enqueue(api.settings, lambda _: None, "deliver", {"labels": LABELS}).job.id or 0 for _ in range(3)]
    page = session.client.get("/jobs?kind=deliver&state=queued").text
    [last] = re.findall(r'name="last" value="(\d*)"', page)
    later = enqueue(api.settings, lambda _: None, "deliver", {"labels": LABELS}).job.id or 0
    answer = session.send("/jobs/bulk", do="cancel all", kind="deliver", state="queued", last=last)
    assert "Cancelled: 3." in answer.text
    states = {job["id"]: job["state"] for job in api.get("/v1/jobs?kind=deliver")["items"]}
    assert states == {**dict.fromkeys(before, "cancelled"), later: "queued"}


def test_a_kind_of_a_plugin_has_a_form(api: Api, tmp_path: Path) -> None:
    (tmp_path / "greeting.py").write_text(PLUGIN)
    home = {"SEGADMIN_HOME": str(api.settings.root), "SEGADMIN_PLUGIN_FILES": f'["{tmp_path / "greeting.py"}"]'}
    with web_server(api.settings, **home) as url:
        session = Session(url, api.keys[Scope.OPERATOR])
        assert "Say something &lt;i&gt;nice&lt;/i&gt;." in session.client.get("/jobs/new").text
        form = session.client.get("/jobs/new/greet").text
        assert "What it says: &lt;b&gt;anything&lt;/b&gt;." in form
        wrong = session.send("/jobs/new/greet", **{"option.times": "9"})
        assert "Field required" in wrong.text and "less than or equal to 5" in wrong.text
        sent = session.send("/jobs/new/greet", **{"option.times": "2", "option.greeting": "<script>alert(1)</script>"})
        assert (sent.status_code, "&lt;script&gt;alert(1)&lt;/script&gt;" in sent.text) == (200, True)
        session.client.close()
