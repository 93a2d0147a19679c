"""A real Chromium, and a shop whose pages it opens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from segadmin.settings import Settings
from tests.conftest import Cli
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


@pytest.fixture
def site(shop: Settings, cli: Cli) -> Iterator[tuple[str, str]]:
    """A web server of a shop with two snapshots, and a key for its pages."""
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {"force": True}).all()
    key = cli("keys", "create", "me", "--role", "admin").stdout.split()[0]
    with web_server(shop) as url:
        yield url, key
