"""What a person sees: every page without errors, in both languages, dark and on a telephone."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.browser.readers import READERS, assert_accessible, assert_fits, reader, settle
from tests.planted import LABELS

PAGES = (
    *("/", "/segments", f"/segments/{LABELS}/high", "/users", "/users?user=user-1", "/snapshots", "/snapshots/2"),
    *("/snapshots/1/2", "/drift", "/jobs", "/jobs/1", "/data", "/schedules"),  # for models and more: test_models
)


def test_every_page_in_every_form(browser: Browser, read_site: tuple[str, str]) -> None:
    url, key = read_site
    for name, preferences in READERS.items():
        with_axe = name == "English"
        with reader(browser, url, key, bypass_csp=with_axe, **preferences) as (page, errors):
            for path in PAGES:
                answer = page.goto(url + path)
                assert answer is not None and answer.status == 200, (name, path)
                settle(page)
                assert_fits(page)
                if with_axe:
                    assert_accessible(page)
            assert errors == [], name


def test_charts_are_drawn_from_the_numbers_beside_them(browser: Browser, read_site: tuple[str, str]) -> None:
    url, key = read_site
    with reader(browser, url, key) as (page, _errors):
        page.goto(f"{url}/segments")
        page.wait_for_selector(".plot canvas")
        assert page.locator("details table tr").count() == 3, "two snapshots under a heading"
        page.goto(f"{url}/snapshots/1/2")
        page.wait_for_selector(".plot svg path")
        cells = [int(text) for text in page.locator(".scroll table").first.locator("td").all_inner_texts()]
        assert sum(cells) == 240
        page.goto(f"{url}/models/1")
        page.wait_for_selector("[data-chart] svg text")
        shown = "[...document.querySelectorAll('[data-chart] svg text')].map(each => getComputedStyle(each).fill)"
        assert {"rgb(255, 255, 255)", "rgb(29, 35, 41)"} <= set(page.evaluate(shown)), (
            "numbers stand out from their cells"
        )


def test_the_language_and_the_colours_are_chosen_and_kept(browser: Browser, read_site: tuple[str, str]) -> None:
    url, key = read_site
    with reader(browser, url, key, locale="en-US", timezone_id="Asia/Shanghai") as (page, _errors):
        page.goto(f"{url}/segments")
        page.get_by_role("link", name="中文").click()
        page.wait_for_url(f"{url}/segments")
        expect(page.locator("h1")).to_have_text("分群")
        page.get_by_role("link", name="深色").click()
        expect(page.locator("body")).to_have_css("background-color", "rgb(20, 24, 28)")
        page.goto(f"{url}/snapshots")
        assert page.locator("html").get_attribute("lang") == "zh-CN"
        assert "UTC" not in page.locator("main").inner_text(), "times are in the zone of the browser"


def test_a_user_is_found_by_keyboard(browser: Browser, read_site: tuple[str, str]) -> None:
    url, key = read_site
    with reader(browser, url, key, locale="en-US") as (page, _errors):
        page.goto(f"{url}/users")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.get_by_label("User id of the shop").focus()
        page.keyboard.type("user-1")
        page.keyboard.press("Enter")
        page.wait_for_url("**/users/*")
        assert "Segments over time" in page.locator("main").inner_text()
        page.goto(f"{url}/users?user=nobody")
        assert "There is no user 'nobody'" in page.get_by_role("alert").inner_text()
