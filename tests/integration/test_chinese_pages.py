"""Every page in Chinese has no English but names, data and what is typed."""

from __future__ import annotations

from contextlib import closing
from importlib.metadata import distributions

import httpx

from segadmin.contracts.plugins import load_plugins
from segadmin.jobs import schedules
from segadmin.settings import Settings
from segadmin.storage import api_keys, database
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState, Scope, Step, StepState
from segadmin_api.dashboard.names import names
from tests.api import Api
from tests.chinese import english, pages
from tests.integration.test_forms import Tab
from tests.planted import CATEGORIES, LABELS
from tests.servers import web_server

#: What the shop, its keys and files are called, and its data.
DATA = {*CATEGORIES, LABELS, "low", "mid", "high", "user", "nightly", "planted"}
ITEMS = {f"{category}-{number}" for category in CATEGORIES for number in range(3)}
KEYS = {"the", *(scope.value for scope in Scope)}
#: Identifiers: of a baseline, of a model's part, of the examples in fields, and of the current model.
IDENTIFIERS = {"majority", "text", "key", "ann", "root", "models.promote", "champion", "home", "moved_since"}
#: Values of options, as they are typed.
VALUES = {
    *("true", "false", "none", "auto", "category", "item", "sum", "joint", "adapter", "merged", "classification"),
    *("shop", "all", "online", "offline"),
}


def _names(settings: Settings) -> frozenset[str]:
    plugins = load_plugins(settings)
    registered = {name for kind in plugins.registered for name in plugins.names(kind)}
    packages = {each.metadata["Name"].lower() for each in distributions()}
    beside = {name for context, name in names() if context in {"choice", "job"}}
    zone = {"asia", "shanghai"}
    return frozenset(DATA | ITEMS | KEYS | IDENTIFIERS | VALUES | registered | packages | beside | zone | {"python"})


def _read(api: Api, names: frozenset[str]) -> tuple[set[str], dict[str, str]]:
    """Return the paths of all pages, and the texts with English words, each with a page that has it."""
    left, paths = {}, set()
    with closing(Tab(api, language="zh-CN").client) as client:
        for path, page in pages(client):
            paths.add(path)
            left |= {text: path for text in page.texts if english(text, names)}
    return paths, left


def test_pages_of_a_shop_are_chinese(api: Api) -> None:
    options = {"labels": LABELS, "policy": "update", "on_drift": True}
    schedules.add(api.settings, "nightly", "0 3 * * *", "refresh", options, timezone="Asia/Shanghai")
    with transaction(api.settings) as session:
        error = f"There is no champion for {LABELS!r}."
        job = Job(kind="refresh", options=options, state=JobState.FAILED, error=f"prepare: {error}")
        session.add(job)
        session.flush()
        session.add(Step(job_id=job.id or 0, stage="prepare", queue="cpu", state=StepState.FAILED, error=error))
    paths, left = _read(api, _names(api.settings))
    assert {f"/segments/{LABELS}/low", "/models/1", "/jobs/1", "/schedules/new", "/drift", "/audit"} <= paths
    assert sorted(left.items()) == []


def test_pages_of_an_empty_store_are_chinese(settings: Settings) -> None:
    database.ensure_schema(settings)
    key = api_keys.create(settings, "ann", Scope.ADMIN)
    with web_server(settings) as url, httpx.Client() as client:
        paths, left = _read(Api(settings, url, {Scope.ADMIN: key}, client), _names(settings))
    assert {"/", "/segments", "/models", "/jobs/new/retrain", "/plugins", "/settings"} <= paths
    assert sorted(left.items()) == []
