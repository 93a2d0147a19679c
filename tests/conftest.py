"""Fixtures that every level of tests uses."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

hypothesis_settings.register_profile("any machine", deadline=None)  # a slow one fails no test
hypothesis_settings.load_profile("any machine")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"  # spinning threads of several fits at once starve each other: 0.2 s become 6
sys.dont_write_bytecode = False  # else every process of the hundreds that tests start would compile all modules anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
for _name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")  # tests run beside each other, on frames of some rows
for _name in [name for name in os.environ if name.startswith("SEGADMIN_")]:
    del os.environ[_name]

from segadmin.settings import Settings, get_settings  # noqa: E402
from segadmin.storage import database  # noqa: E402
from tests.api import api  # noqa: E402, F401  (a fixture)
from tests.commands import CommandServer, command_server  # noqa: E402
from tests.planted import shop, trained_home  # noqa: E402, F401  (fixtures: a shop is trained once a process)


def pytest_configure(config: pytest.Config) -> None:
    """Let only the tests of a GPU see one: the others compare what two ways of computing give, to five digits."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of an empty home under ``tmp_path``, for this process and for the commands it starts."""
    monkeypatch.setenv("SEGADMIN_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while all modules are imported, of which nothing is any."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


#: Files of tests, and numbers of imported modules, at which :func:`collected` has frozen what there was.
_frozen: set[tuple[Path, int]] = set()


@pytest.fixture(autouse=True)
def collected(request: pytest.FixtureRequest) -> None:
    """Leave what was imported out of the garbage collections that follow each step: they take a third of a second."""
    if (state := (request.path, len(sys.modules))) not in _frozen:
        _frozen.add(state)
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Begin with the usual umask: what tests import, such as the Celery app, may set another for the whole process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL, started once for all tests on a free loopback port."""
    from tests.servers import postgres

    with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings over an empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "postgresql":
        from tests.servers import fresh_database

        monkeypatch.setenv("SEGADMIN_DATABASE_URL", fresh_database(request.getfixturevalue("postgres_url")))
        get_settings.cache_clear()
    yield get_settings()
    database.engine(get_settings()).dispose()


Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def commands() -> CommandServer:
    """The process that ``segadmin`` commands are forked from."""
    return command_server()


@pytest.fixture
def cli(settings: Settings, commands: CommandServer) -> Cli:
    """Run ``segadmin`` as a user would, in a process of its own."""

    def run(*words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "COLUMNS": "160", **environment}
        done = commands.run(words, environment, timeout=280)
        if check and done.returncode:
            raise AssertionError(f"segadmin {' '.join(words)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    return run
