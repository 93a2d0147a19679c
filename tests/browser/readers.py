"""People who look at pages in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page


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
