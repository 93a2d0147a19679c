"""A real web server over a trained shop, with a key of every scope; shared by the tests of one module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.records import Scope
from tests.servers import web_server


@dataclass(frozen=True)
class Api:
    """The server and its keys."""

    settings: Settings
    url: str
    keys: dict[Scope, str]
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

    def __call__(self, method: str, path: str, scope: Scope | None = Scope.ADMIN, **options: Any) -> httpx.Response:
        """Send a request with the key of a scope; ``None``: without one."""
        headers = {"Authorization": f"Bearer {self.keys[scope]}"} if scope else {}
        headers |= options.pop("headers", {})
        return self.client.request(method, self.url + path, headers=headers, **options)

    def get(self, path: str, scope: Scope | None = Scope.ADMIN, **options: Any) -> Any:
        """Return what is at a path."""
        answer = self("GET", path, scope, **options)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json()


@pytest.fixture(scope="module")
def api(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server over a copy of the trained shop: version 1 is champion, and snapshot 1 current."""
    home = tmp_path_factory.mktemp("api") / "home"
    shutil.copytree(trained_home, home)
    settings = Settings(home=home)
    keys = {scope: api_keys.create(settings, f"the {scope}", scope) for scope in Scope}
    with web_server(settings, SEGADMIN_HOME=str(home), SEGADMIN_WEB_REQUESTS_PER_SECOND="0") as url:
        api = Api(settings, url, keys)
        yield api
        api.client.close()
    database.engine(settings).dispose()
