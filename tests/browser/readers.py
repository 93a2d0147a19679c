"""People who look at pages in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

READERS: dict[str, dict[str, Any]] = {
    "English": {"locale": "en-US", "timezone_id": "America/New_York", "viewport": {"width": 1200, "height": 900}},
    "Chinese, dark": {"locale": "zh-CN", "timezone_id": "Asia/Shanghai", "color_scheme": "dark"},
    "telephone": {"locale": "en-GB", "viewport": {"width": 390, "height": 800}},
}
_AXE = Path(__file__).parent / "axe.min.js"


@contextmanager
def reader(browser: Browser, url: str, key: str, **preferences: Any) -> Iterator[tuple[Page, list[str]]]:
    """Yield a page of a new reader, who has logged in, and the errors that its console shows."""
    context = browser.new_context(**preferences)
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    page.locator("#key").fill(key)
    page.locator("button[type=submit]").click()
    page.wait_for_url(f"{url}/")
    yield page, errors
    context.close()


def settle(page: Page) -> None:
    """Wait until a page is loaded and drawn: charts and what observers change come with the next frames."""
    page.wait_for_load_state()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def assert_accessible(page: Page) -> None:
    """Check that axe has nothing serious to say about a page, whose reader bypasses the content security policy."""
    page.add_script_tag(path=_AXE)
    violations = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]  # others in short
    serious = [each for each in violations if each["impact"] in {"serious", "critical"}]
    assert not serious, (page.url, [(each["id"], each["nodes"][0]["html"][:200]) for each in serious])


def assert_fits(page: Page) -> None:
    """Check that a page is not wider than its window."""
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{page.url} is {wide} px too wide"
