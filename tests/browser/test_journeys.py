"""What each role does on a usual day, click by click; and the pages of a store that holds nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.storage.records import Scope
from tests.browser.readers import assert_accessible, reader, settle
from tests.planted import LABELS
from tests.servers import web_server


@dataclass(frozen=True)
class Step:
    """A click on a link or button, or a user id that is typed, and where it leads."""

    does: str  #: the text of a link or button in the page; ``type:`` and a user id: looks for the user
    leads_to: str  #: the end of the path
    shows: str = ""  #: a text of the page


EVERYBODY = (
    Step("Segments", "/segments", LABELS),
    Step("high", f"/segments/{LABELS}/high", "Users over time"),
    Step("snapshot 2", "/snapshots/2", "carried forward"),
    Step("Who moved since snapshot 1, and why", "/snapshots/1/2", "From (rows) to (columns)"),
    Step("Models", "/models", "tabular"),
    Step("Drift", "/drift"),
    Step("Jobs", "/jobs", "retrain"),
    Step("Data", "/data"),
)
USER = (
    Step("Users", "/users"),
    Step("type:user-1", "/users/", "Segments over time"),
    Step("Show the text that the model reads", "text=1", "What the model of"),
)
JOURNEYS: dict[Scope, tuple[Step, ...]] = {
    Scope.VIEWER: EVERYBODY,
    Scope.ANALYST: (*EVERYBODY, *USER),
    Scope.OPERATOR: (*EVERYBODY, *USER, Step("Schedules", "/schedules")),
    Scope.ADMIN: (
        *(*EVERYBODY, *USER, Step("Schedules", "/schedules"), Step("Settings", "/plugins")),
        Step("Audit", "/audit", "users.show"),
    ),
}
#: Page → a role that may not open it.
CLOSED = {"/users?user=user-1": Scope.VIEWER, "/audit": Scope.OPERATOR}
EMPTY = ("/", "/segments", "/users", "/snapshots", "/models", "/drift", "/jobs", "/data", "/schedules", "/audit")


@pytest.mark.parametrize("scope", JOURNEYS)
def test_what_a_role_does_by_clicks(browser: Browser, role_keys: tuple[str, dict[Scope, str]], scope: Scope) -> None:
    url, keys = role_keys
    with reader(browser, url, keys[scope], locale="en-US") as (page, errors):
        for step in JOURNEYS[scope]:
            _do(page, step)
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login**")
        page.goto(f"{url}/segments")
        expect(page.locator("#key")).to_be_visible()
        assert errors == []


@pytest.mark.parametrize("path", CLOSED)
def test_a_role_is_told_what_it_may_not_open(
    browser: Browser, role_keys: tuple[str, dict[Scope, str]], path: str
) -> None:
    url, keys = role_keys
    with reader(browser, url, keys[CLOSED[path]], locale="en-US") as (page, _errors):
        answer = page.goto(url + path)
        assert answer is not None
        assert answer.status == 403
        assert f"This key is for {CLOSED[path]}" in page.locator("main").inner_text()


def _do(page: Page, step: Step) -> None:
    kind, _, user = step.does.partition(":")
    if kind == "type" and user:
        page.get_by_label("User id of the shop").fill(user)
        page.keyboard.press("Enter")
    else:
        page.get_by_role("link", name=step.does, exact=True).first.click()
    page.wait_for_url(lambda url: step.leads_to in url)
    settle(page)
    assert step.shows in page.locator("main").inner_text(), step


@pytest.fixture
def empty_site(settings: Settings) -> Iterator[tuple[str, str]]:
    """A web server of a store in which nothing is yet, and a key for its pages."""
    key = api_keys.create(settings, "me", Scope.ADMIN)
    with web_server(settings) as url:
        yield url, key


def test_empty_pages_name_what_comes_next(browser: Browser, empty_site: tuple[str, str]) -> None:
    url, key = empty_site
    with reader(browser, url, key, locale="en-US", bypass_csp=True) as (page, errors):
        for path in EMPTY:
            answer = page.goto(url + path)
            assert answer is not None
            assert answer.status == 200, path
            settle(page)
            content = page.locator("main")
            offered = content.locator("code, form, a").count() + content.get_by_role("button").count()
            assert offered or path == "/audit", f"{path} names neither a command nor a button"
            assert_accessible(page)
        page.goto(f"{url}/users?user=somebody")
        assert page.get_by_role("alert").inner_text()
        assert [error for error in errors if "404" not in error] == []
