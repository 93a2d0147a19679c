"""Files that are sent over HTTP: looked at, imported once by a job, and gone afterwards."""

from __future__ import annotations

import concurrent.futures
import gzip
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil
import pytest
from sqlmodel import col, select, update

from segadmin.events.uploads import KEPT, find_upload, list_uploads, upload_path, uploads_folder
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.lake import Lake
from segadmin.storage.records import Job, JobState, Scope, Step, StepState
from tests.api import Api
from tests.servers import web_server

ORDERS = (
    "会员编号,行为,商品编号,时间,数量,单价\n"
    "new-1,购买,milk-1,2026-01-02 08:00:00,2,3.5\n"
    "new-2,浏览,i2,2026-01-03 09:00:00,,\n"
    "new-3,奇怪,i2,2026-01-03 09:00:00,,\n"
)
HOSTILE = (
    "../../../etc/passwd",
    "..\\..\\boot.ini",
    "/absolute.csv",
    "<img src=x onerror=alert(1)>.csv",
    "=cmd|' /C calc'!A0.csv",
    "a\x00b\x1b[31m\u202e.csv",
    "x" * 600 + ".csv",
    "名" * 300 + ".csv",
    ".hidden.csv",
    "...",
    "upload.json",
    "$HOME.csv",
    "a*?[b].csv",
)


def send(api: Api, content: str | bytes, name: str = "orders.csv", scope: Scope = Scope.OPERATOR) -> dict[str, Any]:
    answer = api("POST", "/v1/uploads", scope, params={"name": name}, content=content)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/uploads/{made['id']}"
    return made


def preview(api: Api, upload: str, **wanted: Any) -> dict[str, Any]:
    answer = api("POST", f"/v1/uploads/{upload}/preview", Scope.OPERATOR, json=wanted)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["result"]
    return result


def work(settings: Settings) -> None:
    """Run the steps that are ready, as a worker does."""
    with transaction(settings) as session:
        ready = session.exec(select(Step.id).where(Step.state == StepState.READY)).all()
    for step in ready:
        run_step(settings, lambda _messages: None, step or 0, "me")


def imported(api: Api, upload: str) -> dict[str, Any]:
    """Import an upload, and return the record of its import."""
    answer = api("POST", f"/v1/uploads/{upload}/import", Scope.OPERATOR)
    assert answer.status_code == 201, answer.text
    work(api.settings)
    job = api.get(f"/v1/jobs/{answer.json()['job']}")
    assert job["state"] == "succeeded", job
    record: dict[str, Any] = api.get(f"/v1/imports/{job['steps'][0]['result']['id']}")
    return record


@pytest.fixture(autouse=True)
def no_uploads_stay(api: Api) -> Iterator[None]:
    yield
    for upload in list_uploads(api.settings):
        api("DELETE", f"/v1/uploads/{upload.id}")
    work(api.settings)  # jobs of uploads that are gone fail


def test_a_file_is_uploaded_looked_at_and_imported_once(api: Api) -> None:
    upload = send(api, ORDERS, "订单.csv")
    assert (upload["name"], upload["bytes"], upload["actor"]) == ("订单.csv", len(ORDERS.encode()), "key the operator")
    assert [each["id"] for each in api.get("/v1/uploads")["items"]] == [upload["id"]]
    path = upload_path(api.settings, find_upload(api.settings, upload["id"]))
    assert (path.read_text(), path.stat().st_mode & 0o077) == (ORDERS, 0), "nobody else may read it"

    result = preview(api, upload["id"])
    assert (result["preview"]["usable"], result["preview"]["reasons"]) == (2, {"unknown_kind": 1})
    assert result["preview"]["first_rows"][0]["at"] == "2026-01-02 08:00:00 UTC"
    assert result["columns"] == ["会员编号", "行为", "商品编号", "时间", "数量", "单价"]
    chosen = api.get(f"/v1/uploads/{upload['id']}")["choice"]
    assert "会员编号" in chosen["mapping"]
    mapping = chosen["mapping"] + '\n[kinds]\n"奇怪" = "cart"\n'
    assert preview(api, upload["id"], mapping=mapping)["preview"]["reasons"] == {}
    assert api.get(f"/v1/uploads/{upload['id']}/preview")["result"]["preview"]["usable"] == 3, "it is kept"

    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        answers = list(
            threads.map(lambda _: api("POST", f"/v1/uploads/{upload['id']}/import", Scope.OPERATOR), range(12))
        )
    assert sorted(answer.status_code for answer in answers) == [200] * 11 + [201]
    assert len({answer.json()["job"] for answer in answers}) == 1
    work(api.settings)
    job = api.get(f"/v1/jobs/{answers[0].json()['job']}")
    record = api.get(f"/v1/imports/{job['steps'][0]['result']['id']}")
    assert (record["file"], record["rows_read"], record["rows_kept"]) == ("订单.csv", 3, 3)
    assert not path.exists() and not path.parent.exists(), "an imported file is removed"
    gone = api("GET", f"/v1/uploads/{upload['id']}")
    assert (gone.status_code, f"was imported by job {job['id']}." in gone.json()["detail"]) == (404, True)
    after = api("POST", f"/v1/uploads/{upload['id']}/import")
    assert (after.status_code, after.json()["job"], after.json()["created"]) == (200, job["id"], False)
    never = api("POST", f"/v1/uploads/{'0' * 32}/import")
    assert (never.status_code, "There is no such upload" in never.json()["detail"]) == (404, True)

    again = send(api, ORDERS, "订单.csv")
    preview(api, again["id"], mapping=mapping)
    assert imported(api, again["id"])["id"] == record["id"], "the same content is imported once"


@pytest.mark.parametrize("form", ["csv.gz", "csv.zst", "ndjson", "json.gz", "parquet", "tsv"])
def test_every_format_of_the_command_line_can_be_uploaded(api: Api, form: str) -> None:
    import zstandard

    rows = [{"user": f"{form}-1", "kind": "view", "item": "i1", "at": "2026-01-02T08:00:00Z"}]
    csv = f"user,kind,item,at\n{form}-1,view,i1,2026-01-02T08:00:00Z\n".encode()
    parquet = io.BytesIO()
    pl.DataFrame(rows).write_parquet(parquet)
    contents = {
        "csv.gz": gzip.compress(csv),
        "csv.zst": zstandard.compress(csv),
        "ndjson": json.dumps(rows[0]).encode(),
        "json.gz": gzip.compress(json.dumps(rows).encode()),
        "parquet": parquet.getvalue(),
        "tsv": csv.replace(b",", b"\t"),
    }
    answer = api("POST", "/v1/uploads", Scope.OPERATOR, files={"file": (f"events.{form}", contents[form])})
    assert answer.status_code == 201, answer.text
    assert preview(api, answer.json()["id"])["preview"]["usable"] == 1
    assert imported(api, answer.json()["id"])["rows_kept"] == 1


def test_a_proposal_keeps_what_is_chosen_with_it(api: Api) -> None:
    upload = send(api, ORDERS.encode("gb18030"))["id"]
    wanted = {"source": "csv", "again": True, "source_options": {"encoding": "gb18030"}}
    answer = api("POST", f"/v1/uploads/{upload}/preview", Scope.OPERATOR, json=wanted).json()
    assert wanted.items() <= answer["upload"]["choice"].items()
    assert answer["result"]["problem"] == ""
    assert "会员编号" in answer["result"]["columns"]
    assert "nosuch" in preview(api, upload, source="nosuch")["problem"]


def test_items_and_labels_are_uploaded_too(api: Api) -> None:
    items = send(api, "商品id,title\nmilk-1,Milk\n", "items.csv")
    result = preview(api, items["id"], table="items")
    assert (result["problem"] and "Did you mean: --map item=" in result["problem"]) or result["preview"]["usable"] == 1
    labels = send(api, "用户,分群\nuser-1,gold\nuser-2,silver\nnobody,gold\n", "labels.csv")
    assert preview(api, labels["id"], table="labels")["preview"]["usable"] == 3
    preview(api, labels["id"], table="labels", mapping='[columns]\nuser="用户"\nsegment="分群"\n', label_set="tier")
    record = imported(api, labels["id"])
    assert (record["table"], record["reasons"]) == ("labels:tier", {"unknown_user": 1})
    assert api.get("/v1/label-sets/tier")["segments"] == ["gold", "silver"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_name_stays_a_name(api: Api, name: str) -> None:
    upload = send(api, ORDERS, name)
    path = upload_path(api.settings, find_upload(api.settings, upload["id"]))
    assert path.read_text() == ORDERS
    assert path.parent == uploads_folder(api.settings) / upload["id"] / "file"
    assert upload["name"].isprintable() and not set('/\\<>|*?"$:') & set(upload["name"]), upload["name"]
    assert len(upload["name"].encode()) <= 140
    api("POST", f"/v1/uploads/{upload['id']}/preview", json={})


@pytest.mark.parametrize(
    ("content", "name", "problem"),
    [
        (gzip.compress(ORDERS.encode() * 100)[:-20], "cut.csv.gz", "end-of-stream"),
        (b"PAR1 this is none", "broken.parquet", "cannot be read as Parquet"),
        (b"\x00\x01\x02" * 100, "noise.csv", ""),
        (b'[{"user": "a"', "cut.json", ""),
        (b"a,b\n1,2\n", "other.csv", ""),
        (b"\n", "blank.csv", ""),
        (b"{" * 100_000, "deep.json", ""),
        (b"x", "nothing", "Give it the suffix of its format"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(api: Api, content: bytes, name: str, problem: str) -> None:
    upload = send(api, content, name)
    result = preview(api, upload["id"])
    usable = result["preview"]["usable"] if result["preview"] else 0
    assert usable == 0
    assert problem in result["problem"] and str(api.settings.root) not in json.dumps(result)
    answer = api("POST", f"/v1/uploads/{upload['id']}/import", Scope.OPERATOR)
    assert answer.status_code in {201, 422}, answer.text


def test_what_is_no_upload_is_refused(api: Api) -> None:
    def refused(**options: Any) -> tuple[int, str]:
        answer = api("POST", "/v1/uploads", Scope.OPERATOR, **options)
        return answer.status_code, answer.json()["detail"]

    assert refused(content=b"a") == (422, "name: give the name of the file, such as ?name=orders.csv")
    assert refused(params={"name": "a.csv"}) == (422, "a.csv is empty. Choose a file with rows.")
    status, detail = refused(params={"name": "a.xlsx"}, content=b"PK")
    assert (status, "Save the sheet as CSV" in detail) == (422, True)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(content=b"--x\r\nbroken", headers=form)[0] == 400
    assert refused(content=b"--x--\r\n", headers=form)[0] in {400, 422}
    assert refused(content=b"a", headers={"Content-Type": "multipart/form-data"})[0] == 400
    status, detail = refused(files=[("file", ("a.csv", b"a")), ("file", ("b.csv", b"b"))])
    assert (status, detail) == (422, "The form has several files. Send one.")
    assert refused(params={"name": "a.csv"}, content=b"a", headers={"Content-Encoding": "gzip"})[0] == 415
    assert list_uploads(api.settings) == []
    assert not list(uploads_folder(api.settings).glob(".*")), "no draft stays"


def test_an_upload_reads_nothing_but_itself(api: Api) -> None:
    upload = send(api, ORDERS)
    for wanted, problem in (
        ({"mapping": "", "source_options": {"encoding": "$SEGADMIN_HOME"}}, "cannot have a $"),
        ({"mapping": '[source]\nname = "csv"\noptions = { header = "${HOME}" }\n'}, "cannot have a $"),
        ({"mapping": "x ="}, "not TOML"),
        ({"mapping": "[columns]\nusr = 'a'\n"}, ""),
        ({"mapping": "no such mapping"}, "There is no mapping"),
        ({"mapping": "", "source_options": {"nothing": "1"}}, "has no option"),
        ({"table": "users"}, ""),
        ({"mapping": "", "table": "labels", "label_set": " x "}, "label set"),
    ):
        answer = api("POST", f"/v1/uploads/{upload['id']}/preview", Scope.OPERATOR, json=wanted)
        assert answer.status_code in {200, 404, 422} and problem in answer.text, (wanted, answer.text)
        if answer.status_code == 200:
            assert answer.json()["result"]["problem"], wanted
    for name in ("database", "data.sqlite", "events.delta"):
        other = send(api, b"SQLite format 3\x00", name)
        wanted = {"mapping": '[source]\nname = "sql"\noptions = { query = "SELECT 1" }\n'}
        answer = api("POST", f"/v1/uploads/{other['id']}/preview", Scope.OPERATOR, json=wanted)
        assert (answer.status_code, "not clear what kind of file" in answer.text) == (422, True)
    options = {"upload": "0" * 32, "sha256": "0" * 64}
    answer = api("POST", "/v1/jobs", Scope.OPERATOR, json={"kind": "import-upload", "options": options})
    assert (answer.status_code, "no such upload" in answer.text) == (422, True)
    assert api("GET", f"/v1/uploads/{'g' * 32}").status_code == 404


def test_an_old_upload_is_removed(api: Api) -> None:
    upload = send(api, ORDERS)
    folder = uploads_folder(api.settings) / upload["id"]
    facts = json.loads((folder / "upload.json").read_text())
    facts["created_at"] = "2020-01-01T00:00:00+00:00"
    (folder / "upload.json").write_text(json.dumps(facts))
    past = time.time() - KEPT.total_seconds() - 60
    import os

    os.utime(folder, (past, past))
    assert api("GET", f"/v1/uploads/{upload['id']}").status_code == 404
    send(api, ORDERS, "another.csv")  # whoever comes next clears up
    assert not folder.exists()


def test_rows_in_quarantine_are_imported_again(api: Api) -> None:
    csv = "user,kind,item,at\nq-1,view,i1,02.01.2026 08:00\nq-2,view,=1+1,02.01.2026 09:00\nq-3,view,i1,yesterday\n"
    upload = send(api, csv, "days.csv")
    preview(api, upload["id"], mapping="")
    first = imported(api, upload["id"])
    assert first["reasons"] == {"bad_time": 3}
    [reason] = api.get(f"/v1/quarantine/reasons?import={first['id']}")["items"]
    assert (reason["reason"], reason["rows"], "not a time" in reason["meaning"]) == ("bad_time", 3, True)
    answer = api("GET", f"/v1/quarantine/file?import={first['id']}", Scope.ANALYST)
    assert (answer.headers["Content-Type"].partition(";")[0], "'=1+1" in answer.text) == ("text/csv", True)

    retry = {"json": {"import": first["id"], "reason": "bad_time"}, "headers": {"Idempotency-Key": "once"}}
    answer = api("POST", "/v1/quarantine/retry", Scope.OPERATOR, **retry)
    again = api("POST", "/v1/quarantine/retry", Scope.OPERATOR, **retry)
    assert (again.status_code, again.json()) == (200, answer.json())
    assert answer.status_code == 201, answer.text
    rows = answer.json()["id"]
    corrected = preview(api, rows, mapping='times = ["%d.%m.%Y %H:%M"]\n')
    assert (corrected["preview"]["usable"], corrected["preview"]["reasons"]) == (2, {"bad_time": 1})
    second = imported(api, rows)
    assert (second["rows_kept"], second["reasons"]) == (2, {"bad_time": 1})
    left = api.get(f"/v1/quarantine?import={first['id']}")["items"]
    assert left == [], "what was imported again has left quarantine"
    [wrong] = api.get(f"/v1/quarantine?import={second['id']}")["items"]
    assert wrong["value"] == "yesterday"
    answer = api("DELETE", f"/v1/quarantine?import={second['id']}", Scope.OPERATOR)
    assert answer.json() == {"rows": 1}
    missing = api("POST", "/v1/quarantine/retry", Scope.OPERATOR, json={"import": second["id"]})
    assert (missing.status_code, "no rows" in missing.text) == (422, True)


def test_mappings_are_saved_by_name(api: Api) -> None:
    text = '[columns]\nuser = "会员编号"\n'
    assert api("PUT", "/v1/mappings/我的店铺", Scope.OPERATOR, json={"text": text}).status_code == 200
    names = [each["name"] for each in api.get("/v1/mappings")["items"]]
    assert names[0] == "我的店铺" and "shopify-orders" in names
    upload = send(api, ORDERS)
    preview(api, upload["id"], mapping="我的店铺")
    assert "会员编号" in api.get(f"/v1/uploads/{upload['id']}")["choice"]["mapping"]
    for name, body in (("shopify-orders", text), ("a.b", text), ("x", "[columns]\nuser = 1"), ("x", "="), (" x", text)):
        answer = api("PUT", f"/v1/mappings/{name}", Scope.OPERATOR, json={"text": body})
        assert answer.status_code in {409, 422}, (name, answer.text)
    assert api("DELETE", "/v1/mappings/我的店铺", Scope.OPERATOR).status_code == 204
    assert api("DELETE", "/v1/mappings/我的店铺", Scope.OPERATOR).status_code == 404
    saved = [entry for entry in api.get("/v1/audit?action=mappings")["items"] if entry["subject"] == "mapping 我的店铺"]
    assert [entry["action"] for entry in saved] == ["mappings.remove", "mappings.save"]


def test_a_profile_is_counted_by_a_job(api: Api) -> None:
    assert api("GET", "/v1/profile").status_code in {200, 404}
    assert api("POST", "/v1/jobs", Scope.OPERATOR, json={"kind": "profile"}).status_code == 201
    work(api.settings)
    stored = api.get("/v1/profile")
    events = Lake.of(api.settings).scan("events").select(pl.len()).collect().item()
    assert (stored["profile"]["events"], sum(stored["profile"]["by_kind"].values())) == (events, events)


def test_users_are_merged_and_parted(api: Api) -> None:
    answer = api("POST", "/v1/merges", Scope.OPERATOR, json={"old": "user-8", "new": "user-9"})
    assert (answer.status_code, answer.json()["state"]) == (201, "merged")
    number = answer.json()["id"]
    assert [each["id"] for each in api.get("/v1/merges?limit=1")["items"]] == [number]
    assert api("POST", "/v1/merges", Scope.OPERATOR, json={"old": "user-8", "new": "user-9"}).json()["id"] == number
    for old, new, problem in (("user-9", "user-9", "the same user"), ("nobody", "user-9", "There is no user")):
        refused = api("POST", "/v1/merges", Scope.OPERATOR, json={"old": old, "new": new})
        assert (refused.status_code, problem in refused.json()["detail"]) == (422, True)
    assert api("POST", f"/v1/merges/{number}/undo", Scope.OPERATOR).json()["state"] == "undone"
    assert api("POST", f"/v1/merges/{number}/undo", Scope.OPERATOR).status_code == 422
    assert api("POST", "/v1/merges/999/undo", Scope.OPERATOR).status_code == 404


def test_an_erasure_is_planned_and_removes_uploads(api: Api) -> None:
    with transaction(api.settings) as session:  # the shop's first jobs ran without the engine, which would end them
        session.exec(update(Job).where(col(Job.kind) != "import-upload").values(state=JobState.SUCCEEDED))
    planned = api.get("/v1/users/user-20/erasure")
    assert planned["rows"]["events"] > 0
    assert api.get("/v1/users/user-20/erasure") == planned, "nothing was erased"
    upload = send(api, "user,kind,item,at\nuser-20,view,i1,2026-01-02T08:00:00Z\n")
    job = api("POST", f"/v1/uploads/{upload['id']}/import", Scope.OPERATOR).json()["job"]
    refused = api("DELETE", "/v1/users/user-20")
    assert (refused.status_code, f"Job {job} imports an uploaded file" in refused.text) == (409, True), refused.text
    api("POST", f"/v1/jobs/{job}/cancel")
    erased = api("DELETE", "/v1/users/user-20")
    assert (erased.status_code, erased.json()["rows"]["events"]) == (200, planned["rows"]["events"])
    assert list_uploads(api.settings) == []
    assert api("GET", "/v1/users/user-20/erasure").status_code == 404


def test_a_large_file_needs_little_memory(settings: Settings, tmp_path: Path) -> None:
    from segadmin.storage import api_keys
    from segadmin.storage.store import open_store

    open_store(settings)
    key = api_keys.create(settings, "me", Scope.OPERATOR)
    row = b"user-%08d,view,item-%06d,2026-01-02T08:00:00Z,a review of some length that fills the file\n"
    rows = b"".join(row % (n, n % 1000) for n in range(10_000))
    header = b"user,kind,item,at,text\n"

    def body() -> Iterator[bytes]:
        yield header
        for _ in range(100 * 2**20 // len(rows)):
            yield rows

    with web_server(settings, SEGADMIN_WEB_UPLOAD_MIB="110") as url:
        port, family = int(url.rpartition(":")[2]), psutil.Process().children(recursive=True)
        [server] = [each for each in family if port in {one.laddr.port for one in each.net_connections("tcp")}]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=120) as client:
            client.post("/v1/uploads", params={"name": "warm.csv"}, content=header + rows)
            before = server.memory_info().rss
            made = client.post("/v1/uploads", params={"name": "large.csv"}, content=body())
            assert made.status_code == 201 and made.json()["bytes"] > 95 * 2**20
            taken = server.memory_info().rss - before
            assert taken < 32 * 2**20, f"{taken >> 20} MiB for 100 MiB"
            result = client.post(f"/v1/uploads/{made.json()['id']}/preview", json={}).json()["result"]
            assert result["preview"]["usable"] == 10_000
            taken = server.memory_info().rss - before
            assert taken < 300 * 2**20, f"{taken >> 20} MiB with a preview"
            large = client.post("/v1/uploads", params={"name": "larger.csv"}, content=b"a" * (111 * 2**20))
            assert (large.status_code, "larger than 110 MiB" in large.json()["detail"]) == (413, True)
            form = client.post("/v1/uploads", files={"file": ("larger.csv", b"a" * (110 * 2**20 + 1))})
            assert (form.status_code, "SEGADMIN_WEB_UPLOAD_MIB" in form.json()["detail"]) == (413, True)
