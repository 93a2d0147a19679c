"""What readers take with them: pictures of charts, tables and the report, as real files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

from tests.browser.readers import assert_accessible, assert_fits, reader, settle

SVG = "{http://www.w3.org/2000/svg}"
#: Pages with a chart of each kind: uPlot, ECharts, and SVG of the server.
CHARTS = {"/segments": "Users by segment over time", "/snapshots/1/2": "Movement", "/models/1": "Reliability"}


def saved(page: Page, button: Locator, folder: Path) -> Path:
    with page.expect_download() as download:
        button.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_chart_is_saved_as_svg_and_png(
    browser: Browser, read_site: tuple[str, str], tmp_path: Path, colours: str
) -> None:
    url, key = read_site
    with reader(browser, url, key, locale="en-US", color_scheme=colours, device_scale_factor=2) as (page, errors):
        for path, title in CHARTS.items():
            page.goto(url + path)
            settle(page)
            figure = page.locator("figure").first
            svg = saved(page, figure.get_by_role("button", name="SVG"), tmp_path)
            png = saved(page, figure.get_by_role("button", name="PNG"), tmp_path)
            assert title.replace(" ", "-") in svg.name and svg.stem == png.stem
            root = ElementTree.parse(svg).getroot()
            assert root.tag == f"{SVG}svg"
            words = " ".join("".join(each.itertext()) for each in root.iter(f"{SVG}text"))
            assert title in words
            marks = [*root.iter(f"{SVG}polyline"), *root.iter(f"{SVG}path"), *root.iter(f"{SVG}rect")]
            assert len(marks) > 5
            with Image.open(png) as picture:
                assert picture.width == round(2 * float(root.get("width", 0)))
                seen = picture.convert("RGB").getcolors(maxcolors=2**24)
                assert seen is not None
                most, background = max(seen)
                assert most < 0.99 * picture.width * picture.height, "it is not blank"
                assert (sum(background) < 200) == (colours == "dark"), "as on the page"
        assert errors == []


def test_a_chart_over_time_is_drawn_where_its_numbers_are(
    browser: Browser, read_site: tuple[str, str], tmp_path: Path
) -> None:
    url, key = read_site
    with reader(browser, url, key, locale="zh-CN") as (page, _errors):
        page.goto(f"{url}/segments")
        page.wait_for_selector(".plot canvas")
        page.locator("details").first.locator("summary").click()
        rows = page.locator("details table").first.locator("tr")
        names = rows.nth(0).locator("th").all_inner_texts()[1:]
        sizes = [[int(each) for each in rows.nth(n).locator("td").all_inner_texts()[1:]] for n in (1, 2)]
        root = ElementTree.parse(saved(page, page.get_by_role("button", name="SVG").first, tmp_path)).getroot()
        lines = [
            [tuple(map(float, at.split(","))) for at in each.get("points", "").split()]
            for each in root.iter(f"{SVG}polyline")
        ]
        assert len(lines) == len(names)
        heights = {
            size: y
            for n, line in enumerate(lines)
            for size, (_, y) in zip((row[n] for row in sizes), line, strict=True)
        }
        ordered = [heights[size] for size in sorted(heights)]
        assert ordered == sorted(ordered, reverse=True), "the more users, the higher"
        assert {*names} <= {"".join(each.itertext()) for each in root.iter(f"{SVG}text")}


def test_a_table_is_saved_as_it_is_seen(browser: Browser, read_site: tuple[str, str], tmp_path: Path) -> None:
    url, key = read_site
    with reader(browser, url, key, locale="zh-CN") as (page, errors):
        for path in ("/snapshots", "/snapshots/1/2", "/models", "/jobs", "/audit"):
            page.goto(url + path)
            settle(page)
            seen = [
                [cell.strip() for cell in row.locator(":is(th, td):not(.choose)").all_inner_texts()]
                for row in page.locator("table").first.locator("tr").all()
            ]
            file = saved(page, page.get_by_role("link", name="CSV").first, tmp_path)
            content = file.read_bytes()
            assert content.startswith(b"\xef\xbb\xbf")
            rows = [*csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))]
            assert file.suffix == ".csv"
            assert rows[0][0] == seen[0][0] and len(rows) == len(seen), path
            numbers = [cell for row in seen for cell in row if cell.isdigit()]
            assert set(numbers) <= {cell for row in rows for cell in row}
        assert errors == []


def test_the_report_is_downloaded_and_opens_by_itself(
    browser: Browser, read_site: tuple[str, str], tmp_path: Path
) -> None:
    url, key = read_site
    with reader(browser, url, key, locale="zh-CN", timezone_id="Asia/Shanghai") as (page, _errors):
        page.goto(f"{url}/snapshots/2")
        path = saved(page, page.get_by_role("link", name="报告"), tmp_path)
    assert path.name == "segadmin-report-spend3-2-zh.html"
    for preferences in ({"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}, {}):
        context = browser.new_context(offline=True, bypass_csp=True, **preferences)
        page, errors = context.new_page(), []
        page.on("console", lambda message, errors=errors: errors.append(message.text))
        page.goto(f"file://{path}")
        assert page.locator("figure svg").count() >= 7
        assert_fits(page)
        assert_accessible(page)
        assert errors == []
        context.close()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"file://{path}")
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") in range(3, 9)
    context.close()
