"""Pictures of every page, for people to look at: in both languages, light and dark, wide and on a telephone.

They are written only where ``SCREENSHOTS`` names a folder: ``make screenshots``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.readers import reader
from tests.browser.test_site import PAGES

FOLDER = os.environ.get("SCREENSHOTS", "")
LANGUAGES = {"en": ("en-US", "America/New_York"), "zh": ("zh-CN", "Asia/Shanghai")}


@pytest.mark.skipif(not FOLDER, reason="SCREENSHOTS names no folder")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_every_page_has_its_picture(
    browser: Browser, read_site: tuple[str, str], language: str, colours: str, width: int
) -> None:
    url, key = read_site
    locale, zone = LANGUAGES[language]
    folder = Path(FOLDER) / f"{language}-{colours}-{width}"
    folder.mkdir(parents=True, exist_ok=True)
    preferences = {"locale": locale, "timezone_id": zone, "color_scheme": colours}
    with reader(browser, url, key, viewport={"width": width, "height": 900}, **preferences) as (page, errors):
        for path in PAGES:
            page.goto(url + path)
            page.wait_for_load_state("networkidle")
            name = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-") or "overview"
            picture = page.screenshot(path=folder / f"{name}.png", full_page=True)
            assert len(picture) > 5_000, f"{path} is blank"
        assert errors == []
