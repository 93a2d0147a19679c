"""Every page in Chinese has no English but names, data and what is typed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import distributions

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
    return frozenset(DATA | IDENTIFIERS | VALUES | registered | packages | beside | zone | {"python"})


def _left(tab: Tab, names: frozenset[str], begin: Iterable[str] = ("/",)) -> dict[str, str]:
    """Return the texts with English words, each with a page that has it."""
    return {
        text: path
        for start in begin
        for path, page in pages(tab.client, start)
        for text in page.texts
        if english(text, names)
    }


def test_pages_of_a_shop_are_chinese(api: Api) -> None:
    options = {"labels": LABELS, "policy": "update", "on_drift": True}
    schedules.add(api.settings, "nightly", "0 3 * * *", "refresh", options, timezone="Asia/Shanghai")
    with transaction(api.settings) as session:
        error = f"There is no champion for {LABELS!r}."
        job = Job(kind="refresh", options=options, state=JobState.FAILED, error=f"prepare: {error}")
        session.add(job)
        session.flush()
        session.add(Step(job_id=job.id or 0, stage="prepare", queue="cpu", state=StepState.FAILED, error=error))
    tab = Tab(api, language="zh-CN")
    assert _left(tab, _names(api.settings)) == {}


def test_pages_of_an_empty_store_are_chinese(settings: Settings) -> None:
    database.ensure_schema(settings)
    key = api_keys.create(settings, "ann", Scope.ADMIN)
    with web_server(settings) as url:
        tab = Tab(Api(settings, url, {Scope.ADMIN: key}), language="zh-CN")
        seen = [path for path, _ in pages(tab.client)]
        assert len(seen) > 60 and not [path for path in seen if re.search("/login", path)]
        assert _left(tab, _names(settings)) == {}
