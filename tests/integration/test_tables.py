"""CSV behind the tables of pages: whole lists, for whoever may see the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import httpx
import pytest

from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState
from tests.conftest import Cli
from tests.planted import LABELS
from tests.servers import web_server

Get = Callable[..., httpx.Response]


def rows_of(answer: httpx.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(b"\xef\xbb\xbf"), "Excel reads it as UTF-8"
    return [*csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))]


def test_tables_as_files(shop: Settings, cli: Cli) -> None:
    key = cli("keys", "create", "me", "--role", "viewer").stdout.split()[0]
    with web_server(shop) as url, httpx.Client(base_url=url, auth=("me", key), timeout=60) as http:
        facts = httpx.get(f"{url}/v1/snapshots/1", headers={"Authorization": f"Bearer {key}"}).json()
        answer = http.get("/snapshots/1?csv=1", headers={"Accept-Language": "zh"})
        head, *rows = rows_of(answer)
        assert head == ["分群", "用户", "占比", "置信度"], "the bar is no column"
        assert [(row[0], int(row[1])) for row in rows] == [
            (each["segment"], each["users"]) for each in facts["segments"]
        ]
        assert [float(row[2]) for row in rows] == pytest.approx([each["share"] for each in facts["segments"]], rel=1e-4)
        assert (
            "filename*=UTF-8''segadmin-%E5%BF%AB%E7%85%A7-1-%E5%88%86%E7%BE%A4.csv"
            in answer.headers["content-disposition"]
        )
        assert http.get("/snapshots/1?csv=9").status_code == 404
        assert http.get("/snapshots/1?csv=0").status_code == 422
        assert http.get("/snapshots/99?csv=1").status_code == 404
        assert http.get("/audit?csv=1").status_code == 401, "it is for administrators"
        assert http.get("/snapshots/1?csv=1", auth=("me", "seg_guess")).status_code == 401
        login = http.get("/snapshots?csv=1", auth=None, headers={"Accept": "text/html"})
        assert (login.status_code, login.headers["location"]) == (303, "/login?next=%2Fsnapshots%3Fcsv%3D1")
        assert rows_of(http.get(f"/segments?csv=1&x={LABELS}"))[0][0] == "Segment"


def test_a_list_of_many_pages_is_whole_and_harmless(settings: Settings, cli: Cli) -> None:
    cli("db", "upgrade")
    with transaction(settings) as session:
        session.add_all(
            Job(kind="retrain", state=JobState.CANCELLED, options={"labels": f"=HYPERLINK({n})", "backbone": "@x"})
            for n in range(1, 2_178)
        )
    key = cli("keys", "create", "me", "--pages").stdout.split()[0]
    with web_server(settings) as url, httpx.Client(base_url=url, auth=("me", key), timeout=60) as http:
        page = http.get("/jobs")
        assert page.text.count("<tr>") == 51, "a page has fifty"
        head, *rows = rows_of(http.get("/jobs?csv=1"))
        assert len(head) > 3
        assert [int(row[0]) for row in rows] == list(range(2_177, 0, -1)), "of three pages"
        assert not [cell for row in rows for cell in row if cell[:1] in {"=", "+", "@"}]
        assert [int(row[0]) for row in rows_of(http.get("/jobs?before=10&csv=1"))[1:]] == list(range(9, 0, -1))
