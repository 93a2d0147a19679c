"""Segments and users in a browser: edit a description, correct a user, see who is behind a cell, export."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import select

from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage import api_keys
from segadmin.storage.database import transaction
from segadmin.storage.records import Scope, Step
from tests.browser.readers import assert_accessible, assert_fits, reader, settle
from tests.planted import LABELS

HIGH = f"/segments/{LABELS}/high"
HOSTILE = """</td><script>alert("1")</script><img src=x onerror='alert(2)'>{{ 7 * 7 }} =1+1"""
PAGES = (
    *(HIGH, f"{HIGH}?compare=low", "/snapshots/2/typical?segment=high", "/snapshots/1/2/users"),
    *("/snapshots/1/2/users?before=low&after=mid", "/corrections", "/review", "/users?user=user-1", "/snapshots/1/2"),
)
READERS: dict[str, dict[str, Any]] = {
    "English": {"locale": "en-US", "timezone_id": "America/New_York", "viewport": {"width": 1200, "height": 900}},
    "Chinese, dark": {"locale": "zh-CN", "timezone_id": "Asia/Kolkata", "color_scheme": "dark"},
    "telephone": {"locale": "zh-CN", "viewport": {"width": 390, "height": 800}},
}


@pytest.mark.parametrize("name", READERS)
def test_every_page_in_every_form(browser: Browser, read_site: tuple[str, str], name: str) -> None:
    url, key = read_site
    with reader(browser, url, key, bypass_csp=True, **READERS[name]) as (page, errors):
        for path in PAGES:
            answer = page.goto(url + path)
            assert answer is not None and answer.status == 200, path
            settle(page)
            for closed in page.locator("main details").all():
                closed.evaluate("each => each.open = true")
            assert_fits(page)
            assert_accessible(page)
        assert errors == []


def test_a_description_is_edited_and_two_tabs_do_not_overwrite_each_other(
    browser: Browser, site: tuple[str, str]
) -> None:
    url, key = site
    with reader(browser, url, key, locale="en-US") as (page, errors):
        other = page.context.new_page()
        for tab in (page, other):
            tab.goto(url + HIGH)
            tab.get_by_text("Edit the description").click()
        page.get_by_label("What it is for").fill(HOSTILE)
        page.get_by_label("Owner: a person or a team").fill(HOSTILE[:100])
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_have_text("The description is saved as revision 1.")
        expect(page.locator("main p.lines")).to_have_text(HOSTILE)
        other.get_by_label("What it is for").fill("mine")
        other.get_by_role("button", name="Save").click()
        expect(other.get_by_role("alert")).to_contain_text("Somebody else changed the description meanwhile")
        expect(other.locator("main p.lines")).to_have_text(HOSTILE)
        expect(other.get_by_label("What it is for")).to_have_value("mine")
        other.get_by_role("button", name="Save").click()
        expect(other.get_by_role("status")).to_have_text("The description is saved as revision 2.")
        other.get_by_text("Earlier versions (2)").click()
        rows = other.locator("details table").nth(0).locator("tr")
        expect(rows).to_have_count(3)
        expect(rows.nth(2)).to_contain_text("key me")
        expect(rows.nth(2)).to_contain_text(HOSTILE)
        assert [text for text in errors if "412" not in text] == []


def test_a_user_is_corrected_and_left_to_the_model_again(browser: Browser, site: tuple[str, str]) -> None:
    url, key = site
    with reader(browser, url, key, locale="en-US") as (page, errors):
        page.goto(f"{url}/users?user=user-1")
        was = _segment(page)
        target = "high" if was != "high" else "low"
        page.get_by_text("Correct to another segment").click()
        form = page.locator("form[action$='/correct']")
        form.get_by_label("Segment", exact=True).select_option(target)
        form.get_by_label("Reason, for those who read it later").fill(HOSTILE)
        form.get_by_label("Ends on (empty: never)").fill("2020-01-01")
        form.get_by_role("button", name="Correct").click()
        expect(page.get_by_role("alert")).to_contain_text("which is past")
        expect(form.get_by_label("Reason, for those who read it later")).to_have_value(HOSTILE)
        expect(form.get_by_label("Segment", exact=True)).to_have_value(target)
        form.get_by_label("Ends on (empty: never)").fill("2099-01-31")
        form.get_by_role("button", name="Correct").click()
        expect(page.get_by_role("status")).to_contain_text("has it, and is current")
        assert _segment(page) == target
        expect(page.locator(".attention")).to_contain_text(f"the model says {was}")
        expect(page.locator(".attention")).to_contain_text(HOSTILE)
        page.goto(f"{url}/corrections")
        expect(page.locator("main tr").nth(1)).to_contain_text(HOSTILE)
        page.locator("main tr").nth(1).get_by_role("link").click()
        page.get_by_text("Withdraw the correction").click()
        form = page.locator("form[action$='/withdraw']")
        form.get_by_label("Reason, for those who read it later").fill("a mistake")
        form.get_by_role("button", name="Withdraw").click()
        expect(page.get_by_role("status")).to_contain_text("has it, and is current")
        assert _segment(page) == was
        page.get_by_text("Pin to this segment").click()
        form = page.locator("form[action$='/pin']")
        form.get_by_label("Reason, for those who read it later").fill("contract")
        form.get_by_role("button", name="Pin").click()
        expect(page.locator(".attention")).to_contain_text("for good")
        page.get_by_role("link", name="Older", exact=True).click()
        assert page.locator("main").get_by_text("Events, newest first").count() == 1
        assert [text for text in errors if "422" not in text] == []


def test_a_cell_leads_to_its_users_and_to_their_file(
    browser: Browser, site: tuple[str, str], shop_of_two: Settings
) -> None:
    url, _ = site
    key = api_keys.create(shop_of_two, "ann", Scope.ANALYST)
    with reader(browser, url, key, locale="en-US") as (page, errors):
        page.goto(f"{url}/snapshots/1/2")
        cells = page.locator("table").first.locator("td a")
        links = {str(link.get_attribute("href")): link.inner_text() for link in cells.all()}
        moved = next(path for path in links if not re.search(r"before=(\w+)&after=\1$", path))
        page.locator(f"a[href='{moved}']").click()
        expect(page.locator("main b").first).to_have_text(f"{links[moved]} users")
        assert page.locator("main tr").count() == int(links[moved]) + 1
        page.get_by_text("Export users").click()
        page.get_by_role("button", name="Export").dblclick()
        page.wait_for_url("**/exports/*")
        expect(page.get_by_text("The file is being written")).to_be_visible()
        with transaction(shop_of_two) as session:
            [step] = session.exec(select(Step.id).where(Step.stage == "export")).all()
        run_step(shop_of_two, lambda _messages: None, step or 0, "me")
        page.reload()
        with page.expect_download() as download:
            page.get_by_text("Download the file").click()
        lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
        assert (lines[0], len(lines)) == ("user,before,after,cause", int(links[moved]) + 1)
        page.goto(url + HIGH)
        assert page.get_by_text("Edit the description").count() == 0, "analysts read"
        page.get_by_role("link", name="Typical users").click()
        expect(page.locator("main tr")).to_have_count(6)
        assert errors == []


def _segment(page: Page) -> str:
    return page.locator("section h2").first.inner_text().removeprefix(f"{LABELS}: ")
