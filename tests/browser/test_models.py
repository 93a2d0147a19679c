"""Models, canaries, schedules, keys and settings as people change them: with a reason, once, and not over others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from segadmin.jobs import schedules
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from segadmin.storage import api_keys, audit
from segadmin.storage.database import reading, transaction
from segadmin.storage.records import ModelState, ModelVersion, Schedule, Scope, utcnow
from tests.browser.readers import READERS, assert_accessible, assert_fits, reader, settle
from tests.conftest import Cli
from tests.planted import LABELS, copied, retrain
from tests.servers import web_server

PAGES = (
    *("/", "/models", f"/models?labels={LABELS}&state=challenger", "/models/2", "/models/1", "/models/canaries"),
    *("/models/canaries/1", "/models/compare?one=2&other=1", "/schedules", "/schedules/new", "/plugins"),
    *("/schedules/show?name=nightly", "/schedules/edit?name=nightly", "/plugins/backbone/tabular", "/keys", "/audit"),
    *("/audit?action=models", "/settings"),
)
#: Where screenshots are kept, if they are wanted.
_PICTURES = os.environ.get("SCREENSHOTS")


@pytest.fixture(scope="module")
def crowded_home(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The home of :func:`crowded`, made once to be copied, and a key for its pages."""
    options = {"labels": LABELS, "policy": "retrain", "on_drift": True}
    with copied(trained_home, Settings(home=tmp_path_factory.mktemp("crowded") / "home")) as settings:
        retrain(settings, seed=5, canary="40%").all()
        schedules.add(settings, "nightly", "0 3 * * *", "refresh", check_request(settings, "refresh", options))
        with transaction(settings) as session:
            facts = session.get_one(ModelVersion, 1).model_dump(exclude={"id", "promoted_at"})
            session.add(ModelVersion(**facts | {"state": ModelState.CHALLENGER}))
            session.get_one(Schedule, "nightly").next_slot = utcnow().replace(year=2020)
        return settings.root, api_keys.create(settings, "me", Scope.ADMIN)


@pytest.fixture
def crowded(settings: Settings, crowded_home: tuple[Path, str]) -> Iterator[tuple[Settings, str, str]]:
    """A server of a shop with a canary, a copy of its champion, and a schedule that is overdue."""
    home, key = crowded_home
    with copied(home, settings), web_server(settings) as url:
        yield settings, url, key


def _picture(page: Page, name: str, path: str) -> None:
    if _PICTURES:
        file = f"{name}{path}".translate(str.maketrans("/?=&, ", "______"))
        page.screenshot(path=Path(_PICTURES) / f"{file}.png", full_page=True)


def test_every_page_in_every_form(browser: Browser, crowded: tuple[Settings, str, str]) -> None:
    _, url, key = crowded
    for name, preferences in READERS.items():
        with_axe = name == "English"
        with reader(browser, url, key, bypass_csp=with_axe, **preferences) as (page, errors):
            for path in PAGES:
                answer = page.goto(url + path)
                assert answer is not None and answer.status == 200, (name, path)
                settle(page)
                assert_fits(page)
                _picture(page, name, path)
                if with_axe:
                    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
                    assert_accessible(page)
            assert errors == [], name


def test_a_version_is_promoted_with_a_reason_and_rolled_back(
    browser: Browser, crowded: tuple[Settings, str, str]
) -> None:
    shop, url, key = crowded
    with reader(browser, url, key, locale="en-US") as (page, errors):
        page.goto(f"{url}/models")
        page.get_by_role("link", name="3", exact=True).first.click()
        page.get_by_text("Promote", exact=True).first.click()
        page.get_by_role("button", name="Promote").click()
        assert page.url.endswith("/models/3"), "the browser asks for the reason"
        page.get_by_label("Reason").fill("campaign in May")
        page.get_by_role("button", name="Promote").click()
        expect(page.get_by_role("status")).to_contain_text(f"Version 3 is champion of {LABELS}.")
        expect(page.locator("main")).to_contain_text("key me promoted it on")
        page.get_by_text("Roll back", exact=True).first.click()
        page.get_by_label("Reason").fill("complaints")
        page.get_by_role("button", name="Roll back").click()
        page.wait_for_url(f"{url}/models/1")
        expect(page.get_by_role("status")).to_contain_text("Version 1 is champion")
        page.goto(f"{url}/audit?action=models")
        expect(page.locator("main")).to_contain_text("reason: complaints")
        assert errors == []
    [rollback] = audit.entries(shop, "models.rollback")
    assert (rollback.actor, rollback.details["reason"]) == ("key me", "complaints")


def test_two_tabs_that_promote_at_once(browser: Browser, crowded: tuple[Settings, str, str]) -> None:
    _, url, key = crowded
    with (
        reader(browser, url, key, locale="en-US") as (first, _),
        reader(browser, url, key, locale="zh-CN") as (late, _),
    ):
        for page, summary, number in ((first, "Promote", 3), (late, "启用", 2)):
            page.goto(f"{url}/models/{number}")
            page.get_by_text(summary, exact=True).first.click()
            page.locator("textarea[name=reason]").fill(f"tab of version {number}")
        first.get_by_role("button", name="Promote").click()
        expect(first.get_by_role("status")).to_contain_text("Version 3 is champion")
        late.get_by_role("button", name="启用").click()
        alert = late.get_by_role("alert")
        expect(alert).to_contain_text("启用了版本 3，原因：tab of version 3。请重新决定。")
        expect(late.locator("textarea[name=reason]")).to_have_value("tab of version 2")
        late.get_by_role("button", name="启用").click()
        late.wait_for_url(f"{url}/models/2")
        expect(late.get_by_role("status")).to_contain_text("版本 2 已成为")


def test_a_canary_is_stopped_from_the_overview(browser: Browser, crowded: tuple[Settings, str, str]) -> None:
    _, url, key = crowded
    with reader(browser, url, key, locale="en-US") as (page, errors):
        page.get_by_text("Stop", exact=True).first.click()
        page.get_by_label("Reason").last.fill("complaints")
        page.get_by_role("button", name="Stop").click()
        page.wait_for_url(f"{url}/models/canaries/1")
        expect(page.locator("main")).to_contain_text("State: stopped. complaints")
        assert errors == []


def test_a_schedule_is_made_and_its_mistakes_are_shown(browser: Browser, crowded: tuple[Settings, str, str]) -> None:
    _, url, key = crowded
    with reader(browser, url, key, locale="en-US", timezone_id="Asia/Shanghai") as (page, _):
        page.goto(f"{url}/schedules")
        page.get_by_role("link", name="New schedule").click()
        expect(page.get_by_label("Time zone")).to_have_value("Asia/Shanghai")
        page.get_by_label("Name").fill("weekly")
        page.get_by_label("Cron:").fill("0 3 * *")
        page.get_by_label("Labels").fill(LABELS)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("'0 3 * *' is not a cron expression")
        expect(page.get_by_label("Cron:")).to_have_attribute("aria-invalid", "true")
        page.get_by_label("Cron:").fill("0 3 * * 1")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_have_text("The schedule weekly is saved.")
        row = page.locator("tr", has=page.get_by_role("link", name="weekly"))
        row.get_by_role("button", name="Pause").click()
        expect(page.locator("tr", has=page.get_by_role("link", name="weekly"))).to_contain_text("paused")
        page.get_by_role("link", name="weekly").click()
        page.get_by_role("button", name="Run now").click()
        expect(page.get_by_role("status")).to_contain_text("is saved. The broker does not answer now")


def test_a_key_is_created_shown_once_and_revoked(browser: Browser, crowded: tuple[Settings, str, str]) -> None:
    _, url, key = crowded
    with reader(browser, url, key, locale="en-US") as (page, errors):
        page.goto(f"{url}/keys")
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Role").select_option("analyst")
        page.get_by_role("button", name="Create").click()
        secret = page.locator("#secret").inner_text()
        assert secret.startswith("seg_")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == secret
        page.get_by_role("link", name="I have kept it").click()
        assert secret not in page.content()
        with reader(browser, url, secret, locale="en-US") as (other, _):
            expect(other.get_by_role("link", name="Users", exact=True)).to_be_visible()
            row = page.locator("tr", has=page.get_by_text("ann", exact=True))
            row.get_by_text("Revoke", exact=True).first.click()
            row.get_by_role("button", name="Revoke").click()
            expect(page.get_by_role("status")).to_have_text("The key ann is revoked.")
            other.goto(f"{url}/models")
            expect(other.locator("#key")).to_be_visible()
            other.locator("#key").fill(secret)
            other.get_by_role("button", name="Log in").click()
            expect(other.get_by_role("alert")).to_contain_text("it is mistyped, or it was revoked")
        assert errors == []


def test_a_form_is_not_lost_with_its_session(browser: Browser, crowded: tuple[Settings, str, str]) -> None:
    _, url, key = crowded
    with reader(browser, url, key, locale="en-US") as (page, _):
        page.goto(f"{url}/models/3")
        page.get_by_text("Promote", exact=True).first.click()
        page.get_by_label("Reason").fill("long thought about")
        page.context.clear_cookies(name="segadmin_session")
        page.get_by_role("button", name="Promote").click()
        expect(page.get_by_role("alert")).to_contain_text("the form that you sent is not lost")
        page.locator("#key").fill(key)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("main")).to_contain_text("long thought about")
        page.get_by_role("button", name="Send it now").click()
        page.wait_for_url(f"{url}/models/3")
        expect(page.get_by_role("status")).to_contain_text("Version 3 is champion")


def test_an_empty_store_names_the_first_steps(browser: Browser, settings: Settings, cli: Cli) -> None:
    cli("db", "upgrade")
    key = cli("keys", "create", "me", "--role", "operator").stdout.split()[0]
    pages: dict[str, Any] = {
        "/": "Three steps to begin with",
        "/models": "segadmin enqueue retrain",
        "/models/canaries": "segadmin enqueue retrain --canary 5%",
        "/schedules": "segadmin schedule add",
    }
    with web_server(settings) as url, reader(browser, url, key, locale="en-US") as (page, errors):
        for path, words in pages.items():
            page.goto(url + path)
            expect(page.locator("main")).to_contain_text(words)
            _picture(page, "empty", path)
        page.goto(url)
        for name, path in (("Upload a file", "/data/upload"), ("Enqueue a job", "/jobs/new/retrain")):
            page.locator("main").get_by_role("link", name=name).first.click()
            page.wait_for_url(url + path)
            page.go_back()
        assert errors == []


@pytest.mark.parametrize("scripts", [True, False])
def test_another_kind_of_a_schedule_brings_its_options(
    browser: Browser, crowded: tuple[Settings, str, str], scripts: bool
) -> None:
    shop, url, key = crowded
    with reader(browser, url, key, locale="en-US", java_script_enabled=scripts) as (page, errors):
        page.goto(f"{url}/schedules/new")
        page.get_by_label("Name").fill("mine")
        page.get_by_label("Cron: minute").fill("0 4 * * *")
        page.get_by_label("Kind of job").select_option("compact")
        button = page.get_by_role("button", name="Show its options")
        if scripts:
            expect(button).to_be_hidden()
        else:
            button.click()
        expect(page.locator("[name=options_of]")).to_have_value("compact")
        expect(page.get_by_label("Name")).to_have_value("mine")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(f"{url}/schedules")
        assert errors == []
    with reading(shop) as session:
        assert session.get_one(Schedule, "mine").kind == "compact"
