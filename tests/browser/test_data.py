"""Data in the browser: a file from upload to import, rows in quarantine, merged users, and an erasure."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from sqlmodel import select, update

from segadmin.jobs.run import run_step
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState, Step, StepState
from tests.browser.readers import assert_accessible, assert_fits, reader, settle

ORDERS = (
    "会员编号,行为,商品编号,时间,<script>alert(1)</script>\n"
    "user-1,购买,milk-1,2026-01-02 08:00:00,=1+1\n"
    "user-2,\"<img src=x onerror='alert(2)'>\",i2,2026-01-03 09:00:00,\n"
    "user-3,奇怪,<b>i3</b>,2026-01-03 09:00:00,x\n"
)
PAGES = ("/data", "/data/upload", "/data/profile", "/data/quarantine", "/data/labels", "/data/merges", "/data/erase")


def work(settings: Settings) -> None:
    """Run the steps that are ready, as a worker does."""
    with transaction(settings) as session:
        ready = session.exec(select(Step.id).where(Step.state == StepState.READY)).all()
    for step in ready:
        run_step(settings, lambda _messages: None, step or 0, "me")


def send(page: Page, form: str) -> None:
    """Send the form whose action ends so, and wait for the next page."""
    with page.expect_navigation():
        page.locator(f"main form[action$='{form}'] button[type=submit]").click()
    settle(page)


def check(page: Page) -> None:
    """A page has no serious finding, and is no wider than the window."""
    assert_accessible(page)
    assert_fits(page)


def test_a_file_from_upload_to_import(
    browser: Browser, site: tuple[str, str], shop_of_two: Settings, tmp_path: Path
) -> None:
    url, key = site
    file = tmp_path / "订单 <img src=x onerror=alert(3)>.csv"
    file.write_text(ORDERS, encoding="utf-8")
    with reader(browser, url, key, locale="en-US", bypass_csp=True, viewport={"width": 390, "height": 800}) as (
        page,
        errors,
    ):
        alerts: list[str] = []
        page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        page.goto(f"{url}/data/upload")
        page.get_by_label("File", exact=True).set_input_files(file)
        send(page, "/data/upload")
        check(page)
        expect(page.locator("main")).to_contain_text("unknown_kind: 2")
        expect(page.locator("main")).to_contain_text("<b>i3</b>")
        kinds = page.get_by_label("Kinds, one word")
        assert "奇怪 = " in kinds.input_value(), "unknown words wait for a kind"

        kinds.fill("奇怪 = carts")
        send(page, "/mapping")
        expect(page.get_by_role("alert")).to_contain_text("there is no kind 'carts'")
        assert kinds.input_value() == "奇怪 = carts", "what was typed stays"
        check(page)
        errors.clear()  # the browser logs the status 422
        kinds.fill("奇怪 = cart")
        page.get_by_label("Time zone of times without one").fill("Asia/Shanghai")
        send(page, "/mapping")
        expect(page.locator("main")).to_contain_text("2026-01-02 00:00:00 UTC")
        page.get_by_text("Save the mapping").click()
        page.get_by_label("Name", exact=True).fill("shop")
        send(page, "/save")
        expect(page.get_by_role("status")).to_have_text("The mapping is saved as shop.")

        wizard = page.url
        twice = "const form = document.querySelector(\"form[action$='/import']\"); form.submit(); form.submit()"
        page.evaluate(twice)  # two clicks
        page.wait_for_url("**/data/results/*")
        expect(page.locator("main")).to_contain_text("The file is imported by a worker")
        check(page)
        work(shop_of_two)
        expect(page.locator("main")).to_contain_text("unknown_kind: 1", timeout=20_000)  # the page looks by itself
        page.reload()
        page.wait_for_url("**/data/imports/*")
        page.goto(wizard)  # as the button "back" does
        page.wait_for_url("**/data/imports/*")
        check(page)
        assert [each.text_content() for each in page.locator(".facts b").all()][:3] == ["3", "2", "1"]

        send(page, "/data/quarantine/retry")
        page.get_by_label("Kinds, one word").fill("<img src=x onerror='alert(2)'> = ignore")
        send(page, "/mapping")
        expect(page.locator("main")).not_to_contain_text("What would go to quarantine")
        send(page, "/import")
        work(shop_of_two)
        page.goto(f"{url}/data/quarantine?import=1")
        expect(page.locator("main")).to_contain_text("No such rows are in quarantine")
        for path in PAGES:
            page.goto(url + path)
            settle(page)
            check(page)
        assert (alerts, errors) == ([], [])


def test_a_user_is_erased_after_both_ids_agree(browser: Browser, site: tuple[str, str], shop_of_two: Settings) -> None:
    url, key = site
    with transaction(shop_of_two) as session:  # the shop's first jobs ran without the engine, which would end them
        session.exec(update(Job).values(state=JobState.SUCCEEDED))
    with reader(browser, url, key, locale="zh-CN", color_scheme="dark", bypass_csp=True) as (page, _errors):
        page.goto(f"{url}/data/merges")
        page.locator("input[name=old]").fill("user-5")
        page.locator("input[name=new]").fill("user-6")
        send(page, "/data/merges")
        expect(page.get_by_role("status")).to_contain_text("两个用户已合并")
        page.goto(f"{url}/data/erase")
        page.locator("input[name=user]").fill("nobody")
        send(page, "/data/erase/plan")
        expect(page.get_by_role("alert")).to_contain_text("没有用户 'nobody'")
        page.locator("input[name=user]").fill("user-6")
        send(page, "/data/erase/plan")
        expect(page.locator("main")).to_contain_text("与该用户合并的用户也会被删除")
        check(page)
        page.locator("input[name=again]").fill("user-7")
        send(page, "/data/erase")
        expect(page.get_by_role("alert")).to_contain_text("两次输入的 id 不一致")
        page.locator("input[name=again]").fill("user-6")
        send(page, "/data/erase")
        expect(page.locator("h1")).to_have_text("删除证明")
        check(page)
        assert "user-6" not in page.content()
        page.goto(f"{url}/users?user=user-6")
        assert "user-6" in page.get_by_role("alert").inner_text()
        page.goto(f"{url}/data/merges")
        expect(page.locator("main")).to_contain_text("没有合并过用户")
        page.goto(f"{url}/audit")
        expect(page.locator("main")).to_contain_text("删除用户数据")
