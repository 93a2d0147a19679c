"""``segadmin.Client``, its asynchronous twin, and ``segadmin --server``: repeated, with the errors of the server."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import segadmin
from segadmin.errors import (
    AccessRefused,
    ConfigurationError,
    DataError,
    InvalidTransition,
    JobNotFound,
    KeyReused,
    ModelNotFound,
    ServerUnavailable,
    SnapshotNotFound,
    Stale,
    UploadNotFound,
    UserNotFound,
)
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.records import Scope
from segadmin.urls import mask_secrets
from segadmin_api.client import answers
from segadmin_api.client.operations import Operation, Operations
from segadmin_api.http.app import routers
from segadmin_api.http.permissions import permissions
from segadmin_api.schemas.jobs import JobFilter
from tests.api import Api
from tests.conftest import Cli
from tests.planted import LABELS
from tests.servers import web_server


@contextmanager
def connected(api: Api, scope: Scope = Scope.ADMIN, url: str = "") -> Iterator[Any]:
    with segadmin.Client(url or api.url, api.keys[scope]) as client:
        yield client


def test_the_client_reads_and_asks(api: Api) -> None:
    with connected(api) as client:
        done = client.enqueue("refresh", {"labels": LABELS}, key="client-1")
        assert client.enqueue("refresh", {"labels": LABELS}, key="client-1").job == done.job
        assert client.show_job(done.job).options["labels"] == LABELS
        assert client.cancel_job(done.job).state == "cancelled"
        assert client.retry_job(done.job).job.state == "queued"
        assert client.cancel_jobs(JobFilter(numbers=[done.job])).done == 1
        page = client.list_jobs(kind=["refresh"], limit=1)
        assert [job.id for job in page.items] == [done.job]
        assert client.list_jobs(kind="refresh", state="cancelled", limit=1).items == page.items, "one text is one kind"
        assert client.show_model().id == client.show_model(1).champion == 1
        assert client.compare_models(1).lead == 0.0
        assert sum(segment.users for segment in client.show_snapshot().segments) == 240
        members = client.list_members(1, limit=200)
        assert len(members.items) + len(client.list_members(1, cursor=members.next).items) == 240
        assert client.show_user("user-1").history[0].snapshot_id == 1
        assert client.show_user_text("user-1").phrases
        assert client.whoami().opens == "admin"
        assert [labels.name for labels in client.list_label_sets().items] == [LABELS]


def test_the_asynchronous_client_has_the_same_methods(api: Api) -> None:
    async def read() -> tuple[int, int, str]:
        async with segadmin.AsyncClient(api.url, api.keys[Scope.OPERATOR]) as client:
            models, snapshot = await asyncio.gather(client.list_models(), client.show_snapshot())
            done = await client.enqueue("compact")
            return len(models.items), snapshot.users, (await client.cancel_job(done.job)).state

    models, users, state = asyncio.run(read())
    assert (users, state) == (240, "cancelled")
    assert models >= 1


def test_every_route_has_a_call() -> None:
    """Both clients have all of ``/v1``, but the stream of progress, which is for browsers."""
    example = {"int": 7, "Path": __file__, "JobFilter": JobFilter(numbers=[7]), "Sequence[Mapping[str, Any]]": []}
    called = set()
    for operation in (each for each in vars(Operations).values() if isinstance(each, Operation)):
        parameters = inspect.signature(operation.make).parameters.values()
        needed = [each for each in parameters if each.default is each.empty]
        by_name = {each.name: example.get(each.annotation, "x") for each in needed if each.kind == each.KEYWORD_ONLY}
        places = [example.get(each.annotation, __file__) for each in needed if each.kind != each.KEYWORD_ONLY]
        call = operation.make(*places, **by_name)
        called.add((call.method, call.path.replace(quote(__file__, safe=""), "x")))
    routes = {(each.method, each.path) for each in permissions(routers()) if each.path.startswith("/v1/")}
    missing = {
        (method, path)
        for method, path in routes
        if not any(method == sent and re.fullmatch(re.sub(r"{[^}]+}", "[^/]+", path), to) for sent, to in called)
    }
    assert missing == {("GET", "/v1/jobs/{job}/events")}


def test_files_are_uploaded_in_pieces_and_imported(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    lines = [f"u{number},view,i{number % 9},2026-01-{1 + number % 28:02}T10:00:00Z" for number in range(60_000)]
    file.write_text("\n".join(["user,kind,item,at", *lines]))
    seen: list[tuple[int, int]] = []
    with connected(api, Scope.OPERATOR) as client:
        upload = client.upload_file(file, progress=lambda sent, size: seen.append((sent, size)))
        assert (upload.name, upload.bytes) == ("more.csv", file.stat().st_size)
        assert seen[-1] == (file.stat().st_size,) * 2
        assert len(seen) > 1
        previewed = client.preview_upload(upload.id)
        assert (previewed.upload.choice.table, previewed.result.problem) == ("events", "")
        assert [each.id for each in client.list_uploads().items] == [upload.id]
        done = client.import_upload(upload.id)
        assert client.show_job(done.job).kind == "import-upload"
        client.cancel_job(done.job)
        client.remove_upload(upload.id)
        with pytest.raises(UploadNotFound):
            client.show_upload(upload.id)
        with pytest.raises(DataError, match="is no file"):
            client.upload_file(tmp_path / "missing.csv")

    async def send() -> int:
        async with segadmin.AsyncClient(api.url, api.keys[Scope.OPERATOR]) as client:
            sent = await client.upload_file(file)
            await client.remove_upload(sent.id)
            return sent.bytes

    assert asyncio.run(send()) == file.stat().st_size


def test_a_file_that_is_too_large_says_so(settings: Settings, tmp_path: Path) -> None:
    database.ensure_schema(settings)
    key = api_keys.create(settings, "ann", Scope.OPERATOR)
    file = tmp_path / "large.csv"
    file.write_bytes(b"user,kind,item,at\n" + b"x" * 2**22)
    with (
        web_server(settings, SEGADMIN_WEB_UPLOAD_MIB="1") as url,
        segadmin.Client(url, key) as client,
        pytest.raises(DataError, match=r"larger than 1 MiB.*SEGADMIN_WEB_UPLOAD_MIB"),
    ):
        client.upload_file(file)


def test_lists_go_on_from_page_to_page(api: Api) -> None:
    async def read() -> list[int]:
        async with segadmin.AsyncClient(api.url, api.keys[Scope.ADMIN]) as client:
            return [entry.id async for entry in client.items(client.list_audit, limit=2)]

    with connected(api) as client:
        once = [entry.id for entry in client.items(client.list_audit)]
        assert once == [entry.id for entry in client.items(client.list_audit, limit=2)]
    assert len(once) > 2
    assert asyncio.run(read())[-len(once) :] == once


def test_a_report_is_saved_whole_or_not_at_all(api: Api, tmp_path: Path) -> None:
    with connected(api, Scope.VIEWER) as client:
        saved = client.save_report(tmp_path / "report.html")
        assert saved.bytes == len((tmp_path / "report.html").read_bytes()) > 1000
        with pytest.raises(SnapshotNotFound):
            client.save_report(tmp_path / "none.html", 99)
        with pytest.raises(ConfigurationError, match="cannot be written"):
            client.save_report(tmp_path / "missing" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_errors_are_those_of_the_server(api: Api) -> None:
    with connected(api) as client:
        with pytest.raises(JobNotFound, match="There is no job 999999"):
            client.show_job(999999)
        with pytest.raises(ModelNotFound):
            client.show_model(999)
        with pytest.raises(ModelNotFound, match=r"no model version 'champoin'.* See: segadmin models list"):
            client.show_model("champoin")
        with pytest.raises(SnapshotNotFound, match=r"no published snapshot 'newest'.* See: segadmin snapshots list"):
            client.show_snapshot("newest")
        with pytest.raises(UserNotFound):
            client.show_user("nobody/at all?")
        with pytest.raises(ConfigurationError, match="no option 'labls'"):
            client.enqueue("refresh", {"labls": "x"})
        job = client.enqueue("compact", key="client-2").job
        with pytest.raises(KeyReused):
            client.enqueue("refresh", {"labels": LABELS}, key="client-2")
        client.cancel_job(job)
        with pytest.raises(InvalidTransition):
            client.cancel_job(job)
        with pytest.raises(Stale, match="is version 1, not version 7"):
            client.promote_model(1, champion=7)
    with connected(api, Scope.VIEWER) as client, pytest.raises(AccessRefused, match="for viewer, and not for operator"):
        client.enqueue("compact")
    with segadmin.Client(api.url, "seg_wrong") as client, pytest.raises(AccessRefused, match="There is no such key"):
        client.whoami()


@pytest.mark.parametrize(
    "server", ["", "shop.example", "ftp://shop", "http://", "http://u:s3cret@shop", "http://h:99999", "http://h?x"]
)
def test_an_address_that_is_none_is_refused(server: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of a server") as refused:
        segadmin.Client(server, "seg_key")
    assert "s3cret" not in str(refused.value)
    assert mask_secrets(str(refused.value)) == str(refused.value), "the example is no login, which would be masked"


@pytest.mark.parametrize("key", ["", " ", "seg_\n", "seg_ü"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="--key is missing"):
        segadmin.Client("http://127.0.0.1:1", key)


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve with ``handler``; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def flaky_proxy(target: str, answer_lost: int, refused: int) -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that refuses the first requests with 503, and loses the answers to the next ones."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.headers.get("Idempotency-Key", ""))
            if len(seen) <= refused:
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}
            }
            answer = httpx.post(target + self.path, content=body, headers=headers, timeout=60)
            if len(seen) <= refused + answer_lost:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    with _served(Handler) as url:
        yield url, seen


def test_a_lost_answer_makes_no_second_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE", 0.01)
    before = {job["id"] for job in api.get("/v1/jobs?kind=compact&limit=1000")["items"]}
    with flaky_proxy(api.url, answer_lost=2, refused=1) as (url, seen), connected(api, url=url) as client:
        done = client.enqueue("compact")
        assert len(seen) == 4
        assert len(set(seen)) == 1, "all under one key"
        assert done.created is False, "the first request that came through made it"
        made = {job["id"] for job in api.get("/v1/jobs?kind=compact&limit=1000")["items"]} - before
        assert made == {done.job}
    with flaky_proxy(api.url, answer_lost=9, refused=0) as (url, seen), connected(api, url=url) as client:
        with pytest.raises(ServerUnavailable, match="does not answer"):
            client.cancel_job(done.job)
        assert len(seen) == 1, "it has no key, so it is not repeated"


def test_a_lost_answer_makes_no_second_upload(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE", 0.01)
    file = tmp_path / "more.csv"
    file.write_text("user,kind,item,at\nuser-1,view,i1,2026-01-01T10:00:00Z\n")
    with flaky_proxy(api.url, answer_lost=2, refused=1) as (url, seen), connected(api, url=url) as client:
        upload = client.upload_file(file, key="more-1")
        assert seen == ["more-1"] * 4
    with connected(api) as client:
        assert [each.id for each in client.list_uploads().items] == [upload.id]
        added = [each.subject for each in client.list_audit(action="uploads.add").items]
        assert added.count(f"upload {upload.id}") == 1
        file.write_text(f"{file.read_text()}user-2,view,i1,2026-01-01T10:00:00Z\n")
        with pytest.raises(KeyReused, match=r"belongs to another upload, of more\.csv"):
            client.upload_file(file, key="more-1")
        client.preview_upload(upload.id)
    with flaky_proxy(api.url, answer_lost=2, refused=1) as (url, seen), connected(api, url=url) as client:
        done = client.import_upload(upload.id)
        assert (len(seen), done.created) == (4, False)
    with connected(api) as client:
        assert client.show_job(done.job).subject == "events · more.csv"
        client.cancel_job(done.job)
        client.remove_upload(upload.id)


def test_a_rollback_whose_answer_is_lost_says_how_to_repeat_it(api: Api, cli: Cli) -> None:
    with flaky_proxy(api.url, answer_lost=9, refused=0) as (url, seen):
        done = cli(
            *("--server", url, "models", "rollback", "--from", "1", "--reason", "too late"),
            check=False,
            SEGADMIN_KEY=api.keys[Scope.ADMIN],
        )
    assert (done.returncode, len(seen)) == (1, 1)
    again = f"segadmin --server {url} models rollback --from 1 --reason 'too late'"
    assert f"Whether version 1 was rolled back is not known. Repeat it safely: {again}" in done.stderr


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_PAUSE", 0.01)
    with (
        segadmin.Client("http://127.0.0.1:9", "seg_key") as client,
        pytest.raises(ServerUnavailable, match=r"127.0.0.1:9 does not answer: .* Check --server"),
    ):
        client.whoami()


@contextmanager
def other_server(status: int, content: bytes, kind: str) -> Iterator[str]:
    """Run a server that answers everything in the same way, as one of another version or another program would."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with _served(Handler) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "content", "kind", "message"),
    [
        (
            404,
            b'{"detail": "Not Found"}',
            "application/problem+json",
            "does not know GET /v1/whoami, .* Update the",
        ),
        (200, b'{"name": "ann"}', "application/json", "answers GET /v1/whoami in another way .* Update the"),
        (404, b"<html>", "text/html", "is no segadmin server: it answered 404"),
        (401, b'{"detail": "There is no such key."}', "application/json", "no such key. .*SEGADMIN_KEY.* keys create"),
    ],
)
def test_another_server_is_named(status: int, content: bytes, kind: str, message: str) -> None:
    with (
        other_server(status, content, kind) as url,
        segadmin.Client(url, "seg_key") as client,
        pytest.raises((ServerUnavailable, AccessRefused), match=message),
    ):
        client.whoami()


def test_a_command_without_a_key_says_how(cli: Cli) -> None:
    done = cli("--server", "http://127.0.0.1:9", "jobs", "list", check=False)
    assert (done.returncode, "Set SEGADMIN_KEY" in done.stderr) == (1, True)


def test_a_value_that_is_none_of_the_choices_is_named(cli: Cli) -> None:
    done = cli("jobs", "list", "--state", "waiting", check=False)
    assert done.returncode == 2
    assert "'--state': 'waiting' is not one of 'queued'" in " ".join(done.stderr.split())
