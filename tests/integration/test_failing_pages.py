"""Pages of a server whose database, store or broker is gone: readable, in the reader's language, and no traceback."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text

from segadmin.events.uploads import list_uploads
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.records import Scope
from tests.servers import fresh_database, wait_until, web_server

PAGES = ("/", "/segments", "/users", "/snapshots", "/models", "/jobs", "/data", "/data/upload", "/data/profile")
PAGES += ("/data/quarantine", "/data/labels", "/data/merges", "/schedules", "/audit")


@dataclass
class Reader:
    """Somebody who has logged in with a browser."""

    url: str
    client: httpx.Client
    token: str

    def close(self) -> None:
        self.client.close()

    def get(self, path: str, language: str = "en") -> httpx.Response:
        return self.client.get(path, headers={"Accept": "text/html", "Accept-Language": language})

    def post(self, path: str, **fields: str) -> httpx.Response:
        headers = {"Accept": "text/html"}
        return self.client.post(path, data={"csrf_token": self.token, **fields}, headers=headers)


def log_in(url: str, key: str) -> Reader:
    client = httpx.Client(base_url=url, timeout=60)
    page = client.get("/login").text
    [token] = re.findall(r'name="csrf_token" value="([^"]+)"', page)
    answer = client.post("/login", data={"csrf_token": token, "next": "/", "key": key})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/"), answer.text
    [token] = set(re.findall(r'name="csrf_token" value="([^"]+)"', client.get("/data/merges").text))
    return Reader(url, client, token)


def problem_of(answer: httpx.Response) -> str:
    """Return what an error page says, which is no traceback and names no folder."""
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Traceback" not in answer.text and "/home" not in answer.text and "sqlalchemy" not in answer.text.lower()
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", answer.text.partition("<main")[2]))


@pytest.fixture
def reader(shop: Settings) -> Iterator[Reader]:
    key = api_keys.create(shop, "me", Scope.ADMIN)
    with (
        web_server(shop, SEGADMIN_WEB_BODY_SECONDS="2", SEGADMIN_WEB_UPLOAD_SECONDS="3") as url,
        closing(log_in(url, key)) as reader,
    ):
        yield reader


def test_a_database_that_is_away_is_said_on_every_page(postgres_url: str, settings: Settings) -> None:
    url = fresh_database(postgres_url)
    shop = Settings(home=settings.home, database_url=url)
    database.upgrade(shop)
    key = api_keys.create(shop, "me", Scope.ADMIN)
    database.engine(shop).dispose()
    with web_server(shop, SEGADMIN_DATABASE_URL=url) as web, closing(log_in(web, key)) as reader:
        connections(postgres_url, url, allowed=False)
        for path in PAGES:
            answer = reader.get(path)
            assert answer.status_code == 503, path
            assert "segadmin doctor" in problem_of(answer), path
        assert "暂时无法使用数据库或存储" in problem_of(reader.get("/data", "zh-CN"))
        answer = reader.post("/data/merges", old="a", new="b")
        assert (answer.status_code, "segadmin doctor" in problem_of(answer)) == (503, True)
        assert reader.client.get("/healthz").json() == {"status": "ok"}
        page = reader.client.get("/login")
        assert page.status_code == 200, "the form itself needs no database"
        [token] = re.findall(r'name="csrf_token" value="([^"]+)"', page.text)
        form = {"csrf_token": token, "next": "/", "key": key}
        answer = reader.client.post("/login", data=form, headers={"Accept": "text/html"})
        assert (answer.status_code, "segadmin doctor" in problem_of(answer)) == (503, True)
        connections(postgres_url, url, allowed=True)
        assert {path: reader.get(path).status_code for path in PAGES} == dict.fromkeys(PAGES, 200), "it is back"


def connections(server: str, url: str, *, allowed: bool) -> None:
    """Let a server accept connections to a database or not; without, it also ends those that there are."""
    name = make_url(url).database
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}"))
        if not allowed:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(text(ended), {"name": name})
    engine.dispose()


def test_a_database_of_another_version_names_the_command(shop: Settings, reader: Reader) -> None:
    with sqlite3.connect(shop.database_files[0]) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        connection.execute("DROP TABLE import")
    reader.get("/data")  # the first finds the table missing, and the schema is compared again
    answer = reader.get("/data")
    assert (answer.status_code, "segadmin db upgrade" in problem_of(answer)) == (503, True)
    assert "数据库属于另一版本的 segadmin" in problem_of(reader.get("/data", "zh-CN"))
    assert reader.client.get("/healthz").status_code == 200


def test_a_store_that_is_not_mounted_is_said(shop: Settings, reader: Reader) -> None:
    shutil.move(shop.store_path, shop.root / "elsewhere")
    for path in ("/data/quarantine", "/data/upload"):
        answer = reader.get(path)
        assert answer.status_code in {200, 503}, path
        problem_of(answer)
    answer = reader.post("/data/erase/plan", user="user-1")
    assert (answer.status_code, "segadmin doctor" in problem_of(answer)) == (503, True)
    assert reader.client.get("/healthz").status_code == 200


def test_a_job_is_saved_while_the_broker_is_down(shop: Settings, reader: Reader) -> None:
    answer = reader.post("/data/profile")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/data/profile")
    page = problem_of(reader.get("/data/profile"))
    assert "Saved as job" in page and "it starts when the broker is back" in page
    assert "It is being counted by" in page
    reader.post("/data/profile")
    assert len(reader.client.get("/v1/jobs?kind=profile").json()["items"]) == 1, "a second click asks for no second"


def test_a_form_that_is_too_large_or_too_slow_is_refused(shop: Settings, reader: Reader) -> None:
    answer = reader.post("/data/merges", old="a" * (10 * 2**20 + 1), new="b")
    assert (answer.status_code, "larger than" in problem_of(answer)) == (413, True)
    answer = reader.post("/data/merges", old="a" * (300 * 2**10), new="b")
    assert (answer.status_code, "larger than 256 KiB" in problem_of(answer)) == (413, True)
    parts = urlsplit(reader.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as slow:
        cookies = "; ".join(f"{name}={value}" for name, value in reader.client.cookies.items())
        head = f"POST /data/merges HTTP/1.1\r\nHost: {parts.netloc}\r\nCookie: {cookies}\r\nContent-Length: 100\r\n\r\n"
        slow.sendall(head.encode() + b"old=")
        assert slow.recv(100).startswith(b"HTTP/1.1 408"), "after the two seconds of SEGADMIN_WEB_BODY_SECONDS"
    assert reader.client.get("/healthz").status_code == 200


def test_an_upload_that_stops_or_is_not_of_the_page_leaves_nothing(shop: Settings, reader: Reader) -> None:
    parts = urlsplit(reader.url)
    head = f'--x\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{reader.token}\r\n--x\r\n'
    head += 'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nuser,kind'
    cookies = "; ".join(f"{name}={value}" for name, value in reader.client.cookies.items())
    lines = (
        *("POST /data/upload HTTP/1.1", f"Host: {parts.netloc}", f"Cookie: {cookies}"),
        *("Content-Type: multipart/form-data; boundary=x", "Content-Length: 5000", "", ""),
    )
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as slow:
        slow.sendall("\r\n".join(lines).encode() + head.encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408"), "after the seconds of SEGADMIN_WEB_UPLOAD_SECONDS"
    files = {"file": ("a.csv", b"user,kind\n")}
    answer = reader.client.post("/data/upload", data={"csrf_token": "wrong"}, files=files)
    assert (answer.status_code, "no valid token" in answer.text) == (403, True)
    wait_until(lambda: not list((shop.store_path / "uploads").glob(".*")), 10, "the draft is removed")
    assert list_uploads(shop) == []
    for name, content, status in (("a.csv", b"", 422), ("a.xlsx", b"PK", 422), ("", b"", 422)):
        form = {"file": (name, content)}
        answer = reader.client.post(
            "/data/upload", data={"csrf_token": reader.token}, files=form, headers={"Accept": "text/html"}
        )
        assert (answer.status_code, 'role="alert"' in answer.text) == (status, True), name
