"""Data that attack whoever looks at them: nothing of them runs, in no browser and in no chart."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from segadmin.settings import Settings
from tests.browser import hostile
from tests.browser.readers import reader
from tests.servers import web_server

#: Page → what of the data is on it.
SHOWN: dict[str, tuple[str, ...]] = {
    "/": (hostile.LABEL_SET, hostile.FILE, hostile.ERROR),
    "/segments": (hostile.LABEL_SET, hostile.SEGMENT, hostile.CATEGORY),
    f"/segments/{quote(hostile.LABEL_SET, safe='')}/{quote(hostile.SEGMENT, safe='')}": (
        *(hostile.CATEGORY, hostile.DESCRIPTION, hostile.OWNER),
    ),
    "/users": (),
    "/users?user=" + quote(hostile.attack("nobody")): (),
    "/snapshots": (hostile.LABEL_SET,),
    "/snapshots/2": (hostile.LABEL_SET, hostile.SEGMENT),
    "/snapshots/1/2": (hostile.LABEL_SET, hostile.SEGMENT),
    "/models": (hostile.LABEL_SET, hostile.PLUGIN),
    "/models/1": (hostile.PLUGIN,),
    "/drift": (hostile.LABEL_SET,),
    "/jobs": (hostile.ATTACKS[2],),
    "/jobs/4": (hostile.ERROR,),
    "/data": (hostile.FILE,),
    "/schedules": (hostile.SCHEDULE,),
    "/audit": (hostile.KEY, hostile.NOTE),
    "/login?next=" + quote(f"javascript:{hostile.RAN}=1"): (),
    "/jobs?before=" + quote(hostile.ATTACKS[0]): (),
    "/" + quote(hostile.attack("nothing")): (),
}


@pytest.fixture
def hostile_site(shop_of_two: Settings) -> Iterator[tuple[str, str]]:
    """A web server of a hostile shop, and a key for its pages."""
    key = hostile.make_hostile(shop_of_two)
    with web_server(shop_of_two) as url:
        yield url, key


def text_of(page: Page) -> str:
    """Return the text of a page with single spaces, as its elements hold it."""
    return " ".join((page.locator("body").text_content() or "").split())


def test_nothing_of_hostile_data_runs(browser: Browser, hostile_site: tuple[str, str]) -> None:
    url, key = hostile_site
    dialogs: list[str] = []
    with reader(browser, url, key, locale="en-US") as (page, errors):
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        for path, texts in SHOWN.items():
            page.goto(url + path)
            page.wait_for_load_state("networkidle")
            _hover_over_charts(page)
            assert page.evaluate(hostile.RAN) is None, path
            shown = text_of(page)
            for text in texts:
                assert " ".join(text.split()) in shown, (path, text, shown)
            assert hostile.EVALUATED not in shown, path
            elements = page.locator("main :is(script, base, iframe, img:not([src^='data:']), [onerror], [onload])")
            assert elements.count() == 0, path
        expected = [error for error in errors if "404" not in error and "422" not in error]  # the pages that are none
        assert expected == []
        assert all(each.startswith((url, "data:")) for each in requested)
    assert dialogs == []


def test_the_text_of_a_user_is_shown_literally(browser: Browser, hostile_site: tuple[str, str]) -> None:
    url, key = hostile_site
    with reader(browser, url, key, locale="en-US") as (page, errors):
        page.goto(f"{url}/users?user=user-1")
        page.goto(f"{page.url.partition('?')[0]}?text=1")
        assert hostile.ATTACKS[2] in text_of(page)
        assert page.evaluate(hostile.RAN) is None
        assert errors == []


def _hover_over_charts(page: Page) -> None:
    """Move over the charts, so that their tooltips and legends show names."""
    for plot in page.locator(".plot").all():
        box = plot.bounding_box()
        if box is not None:
            for part in (0.1, 0.3, 0.5, 0.9):
                page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
