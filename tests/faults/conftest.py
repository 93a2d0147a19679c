"""Worlds: on SQLite and on PostgreSQL, each test in a copy of one that was furnished once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from segadmin.settings import Settings, get_settings
from segadmin.storage import database
from tests.faults.chain import broken_promises, content_hash
from tests.faults.world import USERS, World, copy_home, environment_of, furnish


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home on SQLite with planted users."""
    settings = Settings(home=tmp_path_factory.mktemp("furnished") / "home")
    furnish(settings)
    database.engine(settings).dispose()
    return settings.root


@pytest.fixture(scope="session")
def furnished_postgres(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with planted users and the URL of its database, both to be copied."""
    from tests.servers import fresh_database

    url = fresh_database(postgres_url)
    settings = Settings(home=tmp_path_factory.mktemp("postgres-home") / "home", database_url=url)
    database.upgrade(settings)
    furnish(settings)
    database.engine(settings).dispose()
    return settings.root, url


@pytest.fixture(params=["sqlite", "postgresql"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, furnished: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A furnished world of this test alone."""
    home, template_home, url = tmp_path / "home", furnished, ""
    if request.param == "postgresql":
        template_home, template_url = request.getfixturevalue("furnished_postgres")
        template = make_url(template_url)
        name = f"world_{abs(hash(str(tmp_path))) % 10**12}"
        server = create_engine(template.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template.database}"))
        server.dispose()
        url = template.set(database=name).render_as_string(hide_password=False)
    copy_home(template_home, home)
    environment = environment_of(home, url)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    get_settings.cache_clear()
    yield World(get_settings(), environment)
    database.engine(get_settings()).dispose()
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def fault_free(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The content of the snapshot that a job publishes when nothing goes wrong."""
    home = tmp_path_factory.mktemp("fault-free") / "home"
    copy_home(furnished, home)
    with pytest.MonkeyPatch.context() as patch:
        environment = environment_of(home, "")
        for variable, value in environment.items():
            patch.setenv(variable, value)
        get_settings.cache_clear()
        world = World(get_settings(), environment)
        job = world.enqueue_job()
        world.drive(job)
        assert broken_promises(world.settings, job, USERS) == []
        content = content_hash(world.settings, job)
        database.engine(world.settings).dispose()
    get_settings.cache_clear()
    return content
