"""A real Chromium, and a shop whose pages it opens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.records import Scope
from tests.planted import Run, more_weeks, planted_users
from tests.servers import web_server


def _chromium() -> str:
    """Return the path of Debian's Chromium, installed now if this is a new machine and may be."""
    if shutil.which("chromium") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "chromium"]):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    path = shutil.which("chromium")
    assert path is not None, "These tests need Chromium: apt-get install chromium"
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, for the tests of a module: its event loop must have ended before tests with one of their own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def home_of_two(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a shop with two snapshots: made once, to be copied."""
    settings = Settings(home=tmp_path_factory.mktemp("two-snapshots") / "home")
    shutil.copytree(trained_home, settings.root)
    more_weeks(settings, planted_users(settings), range(14, 15))
    Run(settings, "refresh", {"force": True}).all()
    database.engine(settings).dispose()  # the database is one file again
    return settings.root


@pytest.fixture
def shop_of_two(settings: Settings, home_of_two: Path) -> Iterator[Settings]:
    """Settings of a shop with two snapshots, of which a test changes what it likes."""
    shutil.copytree(home_of_two, settings.root)
    yield settings
    database.engine(settings).dispose()


@pytest.fixture
def site(shop_of_two: Settings) -> Iterator[tuple[str, str]]:
    """A web server of a shop with two snapshots, and a key for its pages."""
    key = api_keys.create(shop_of_two, "me", Scope.ADMIN)
    with web_server(shop_of_two) as url:
        yield url, key


@pytest.fixture(scope="module")
def role_keys(home_of_two: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[Scope, str]]]:
    """A web server of a shop with two snapshots, for all tests of a module that only read, and a key of each role."""
    settings = Settings(home=tmp_path_factory.mktemp("site") / "home")
    shutil.copytree(home_of_two, settings.root)
    keys = {scope: api_keys.create(settings, f"the {scope}", scope) for scope in Scope}
    with web_server(settings, SEGADMIN_HOME=str(settings.root)) as url:
        yield url, keys
    database.engine(settings).dispose()


@pytest.fixture
def read_site(role_keys: tuple[str, dict[Scope, str]]) -> tuple[str, str]:
    """As ``site``, shared by the tests of a module: they only read."""
    url, keys = role_keys
    return url, keys[Scope.ADMIN]
