"""Jobs in a browser: asked for by a form, followed to the end, cancelled, retried, and many at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlmodel import col, select

from segadmin.jobs.enqueue import enqueue
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState, Step
from tests.browser.readers import assert_accessible, assert_fits, reader
from tests.conftest import Cli
from tests.planted import LABELS
from tests.servers import redis_server, web_server, worker

#: A folder for pictures of the pages, to look at them.
SHOTS = os.environ.get("SCREENSHOTS")
HOSTILE = """</textarea></td><script>alert("1")</script><img src=x onerror='alert(2)'>{{ 7 * 7 }}"""


def picture(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)


def key_of(cli: Cli, *words: str) -> str:
    return cli("keys", "create", "me", *words).stdout.split()[0]


def jobs(settings: Settings, kind: str) -> list[Job]:
    with transaction(settings) as session:
        return list(session.exec(select(Job).where(Job.kind == kind).order_by(col(Job.id))).all())


def queue(settings: Settings, count: int, kind: str = "compact") -> list[int]:
    """Enqueue jobs that no worker hears of."""
    return [enqueue(settings, lambda _: None, kind, {}).job.id or 0 for _ in range(count)]


@contextmanager
def workplace(settings: Settings) -> Iterator[str]:
    """Run a broker, a worker and the web service; yields its URL."""
    with redis_server(settings), worker(settings, app="segadmin_worker.app"), web_server(settings) as url:
        yield url


def test_a_job_is_asked_for_and_followed_to_its_end(browser: Browser, shop: Settings, cli: Cli) -> None:
    with workplace(shop) as url, reader(browser, url, key_of(cli, "--role", "operator")) as (page, errors):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{url}/jobs")
        page.get_by_role("link", name="Enqueue a job").click()
        page.get_by_role("link", name="refresh", exact=True).click()
        page.get_by_label("Labels").fill(LABELS)
        page.get_by_role("button", name="Estimate the cost").click()
        expect(page.get_by_role("status")).to_contain_text("No past job of the kind refresh has succeeded yet")
        expect(page.get_by_label("Labels")).to_have_value(LABELS)
        assert jobs(shop, "refresh") == [], "an estimate enqueues nothing"
        page.get_by_role("button", name="Enqueue").dblclick()
        page.wait_for_url("**/jobs/*")
        expect(page.locator("h1")).to_contain_text("refresh")
        number = int(page.url.rsplit("/", 1)[1])
        page.evaluate("window.marker = 'the same page'")
        expect(page.locator(".facts")).to_contain_text("succeeded", timeout=90_000)
        picture(page, "job-done")
        assert page.evaluate("window.marker") == "the same page", "it was not loaded anew"
        assert f"{url}/v1/jobs/{number}/events" in asked
        expect(page.locator("main")).to_contain_text("Nothing changed since snapshot 1")
        expect(page.locator("svg.graph text.name").first).to_have_text("prepare")
        assert len(jobs(shop, "refresh")) == 1, "a double click makes one job"

        page.get_by_role("link", name="Logs").click()
        expect(page.locator("table.logs")).to_contain_text("step claimed")
        picture(page, "job-logs")
        page.locator("#stage").select_option("publish")
        page.get_by_role("button", name="Filter").click()
        stages = set(page.locator("table.logs tr td:nth-child(3)").all_inner_texts())
        assert stages == {"publish"}

        page.goto(f"{url}/jobs/{number}")
        page.get_by_role("link", name="New job with these options").click()
        expect(page.get_by_label("Labels")).to_have_value(LABELS)
        page.get_by_role("button", name="Estimate the cost").click()
        expect(page.get_by_role("status")).to_contain_text("It takes about")
        expect(page.get_by_role("status")).to_contain_text("of memory")
        picture(page, "new-job-estimate")
        assert errors == []


def test_a_form_that_is_sent_again_makes_no_second_job(browser: Browser, shop: Settings, cli: Cli) -> None:
    with web_server(shop) as url, reader(browser, url, key_of(cli, "--role", "operator")) as (page, _errors):
        before = len(jobs(shop, "refresh"))
        page.goto(f"{url}/jobs/new/refresh")
        page.get_by_label("Labels").fill(LABELS)
        page.get_by_role("button", name="Enqueue").click()
        page.wait_for_url("**/jobs/*")
        expect(page.get_by_role("status")).to_contain_text("Saved as job", timeout=5_000)
        picture(page, "job-saved")
        job = page.url
        page.wait_for_timeout(2_500)
        expect(page.get_by_role("status")).to_contain_text("it starts when the broker is back")
        page.go_back()
        page.get_by_label("Labels").fill(LABELS)
        page.get_by_role("button", name="Enqueue").click()
        page.wait_for_url(job)
        expect(page.get_by_role("status")).to_contain_text("nothing new was enqueued")
        page.go_back()
        page.get_by_label("Labels").fill(LABELS)
        page.locator("summary", has_text="More options").click()
        page.get_by_label("Hysteresis").check()
        page.get_by_role("button", name="Enqueue").click()
        expect(page.get_by_role("alert")).to_contain_text("This form was sent already, with other values")
        picture(page, "new-job-other-values")
        assert len(jobs(shop, "refresh")) == before + 1
        page.get_by_role("button", name="Enqueue").click()
        page.wait_for_url("**/jobs/*")
        assert len(jobs(shop, "refresh")) == before + 2
        assert jobs(shop, "refresh")[-1].options["hysteresis"] is True


def test_errors_stand_beside_the_fields_and_values_are_kept(browser: Browser, shop: Settings, cli: Cli) -> None:
    with web_server(shop) as url, reader(browser, url, key_of(cli, "--role", "operator")) as (page, errors):
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.goto(f"{url}/jobs/new/retrain")
        page.locator("summary", has_text="More options").click()
        page.get_by_label("Labels", exact=True).fill("nothing")
        page.get_by_label("Reason").fill(HOSTILE)
        page.get_by_label("Backbone options").fill(f"{HOSTILE}\nrounds=30")
        page.locator("#option-canary").fill("all of them")
        page.locator("#option-held_out").evaluate("field => { field.removeAttribute('max'); field.value = '0.9'; }")
        page.get_by_role("button", name="Enqueue").click()
        expect(page.locator("#option-held_out-error")).to_have_text("Input should be less than or equal to 0.3")
        expect(page.locator("#option-canary-error")).to_contain_text("'all of them' is no share of the users")
        expect(page.locator("#option-backbone_options")).to_have_value(f"{HOSTILE}\nrounds=30")
        expect(page.locator("#option-reason")).to_have_value(HOSTILE)
        expect(page.locator("#option-held_out")).to_have_attribute("aria-invalid", "true")
        picture(page, "new-job-wrong")
        page.locator("#option-held_out").fill("0.2")
        page.locator("#option-canary").fill("")
        page.get_by_role("button", name="Enqueue").click()
        expect(page.locator("#option-labels-error")).to_contain_text("There are no labels 'nothing'")
        assert all(job.state != JobState.QUEUED or job.options["labels"] != "nothing" for job in jobs(shop, "retrain"))
        page.locator("#option-labels").fill(LABELS)
        page.locator("#option-backbone").fill("tabular")
        page.locator("#option-backbone_options").fill("rounds=30")
        page.get_by_role("button", name="Enqueue").click()
        page.wait_for_url("**/jobs/*")
        expect(page.locator("main")).to_contain_text(HOSTILE)
        page.goto(f"{url}/jobs")
        assert [each for each in errors if "422" not in each] == []


def test_a_job_is_cancelled_and_retried(browser: Browser, shop: Settings, cli: Cli) -> None:
    [number] = queue(shop, 1)
    with web_server(shop) as url, reader(browser, url, key_of(cli, "--role", "operator")) as (page, errors):
        page.goto(f"{url}/jobs/{number}")
        page.locator("summary", has_text="Cancel the job").click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.get_by_role("status")).to_have_text("The job is cancelled.")
        expect(page.locator(".facts")).to_contain_text("cancelled")
        picture(page, "job-cancelled")
        page.get_by_label("From the start").check()
        page.get_by_role("button", name="Retry").click()
        expect(page.locator(".facts")).to_contain_text("queued")
        assert errors == []
        [job] = jobs(shop, "compact")
        assert job.state == JobState.QUEUED


def test_a_form_that_is_opened_while_the_page_is_loaded_stays_open(browser: Browser, shop: Settings, cli: Cli) -> None:
    [number] = queue(shop, 1)
    with web_server(shop) as url, reader(browser, url, key_of(cli, "--role", "operator")) as (page, _errors):
        page.goto(f"{url}/jobs/{number}")
        held: list[Route] = []
        page.route(f"{url}/jobs/{number}", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks it
        with page.expect_request(f"{url}/jobs/{number}"):
            page.evaluate("document.getElementById('content').dispatchEvent(new Event('changed'))")
        opened = page.locator("details.action").first
        opened.locator("summary").click()
        with page.expect_event("requestfinished"):
            held[0].continue_()
        page.wait_for_timeout(300)
        expect(opened).to_have_attribute("open", "")
        page.unroute_all()
        cli("jobs", "cancel", str(number))
        with page.expect_response(f"{url}/jobs/{number}"):
            opened.locator("summary").click()
        expect(page.locator(".facts")).to_contain_text("cancelled")


def test_without_events_the_page_is_loaded_now_and_then(browser: Browser, shop: Settings, cli: Cli) -> None:
    [number] = queue(shop, 1)
    with web_server(shop) as url, reader(browser, url, key_of(cli, "--pages")) as (page, _errors):
        page.goto(f"{url}/jobs/{number}")
        expect(page.locator(".facts")).to_contain_text("queued")
        assert page.get_by_role("button", name="Cancel the job").count() == 0, "the key only opens pages"
        cli("jobs", "cancel", str(number))
        expect(page.locator(".facts")).to_contain_text("cancelled", timeout=15_000)


def test_many_jobs_are_filtered_and_cancelled(browser: Browser, shop: Settings, cli: Cli) -> None:
    numbers = queue(shop, 60)
    cli("jobs", "cancel", str(numbers[0]))
    with web_server(shop) as url, reader(browser, url, key_of(cli, "--role", "operator")) as (page, errors):
        page.goto(f"{url}/jobs")
        page.locator("#kind").select_option("compact")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url("**/jobs?kind=compact")
        page.get_by_role("link", name="queued 59").click()
        page.wait_for_url("**/jobs?kind=compact&state=queued")
        assert page.locator("input[name=job]").count() == 50
        picture(page, "jobs-filtered")
        page.get_by_role("link", name="Older").click()
        assert page.locator("input[name=job]").count() == 9
        page.get_by_label("all", exact=True).check()
        assert page.locator("input[name=job]:checked").count() == 9
        page.get_by_label("all", exact=True).uncheck()
        page.get_by_label(f"Choose job {numbers[1]}", exact=True).check()
        page.get_by_label(f"Choose job {numbers[2]}", exact=True).check()
        page.wait_for_timeout(4_000)
        expect(page.get_by_label(f"Choose job {numbers[1]}", exact=True)).to_be_checked()
        page.get_by_role("button", name="Cancel the chosen jobs").click()
        expect(page.get_by_role("status")).to_have_text("Cancelled: 2.")
        page.get_by_role("link", name="Back to the jobs").click()
        page.goto(f"{url}/jobs?kind=compact&state=queued&state=cancelled")
        page.locator("summary", has_text="All that match the filter: 60 jobs").click()
        page.get_by_role("button", name="Cancel all of them").click()
        expect(page.get_by_role("status")).to_have_text("Cancelled: 57.")
        expect(page.locator("h2")).to_have_text("Not possible: 3")
        expect(page.locator("table")).to_contain_text(f"Job {numbers[1]} is cancelled: there is nothing to cancel.")
        picture(page, "jobs-cancelled")
        page.goto(f"{url}/jobs?kind=compact&state=cancelled")
        page.get_by_label(f"Choose job {numbers[-1]}", exact=True).check()
        page.get_by_role("button", name="Retry the chosen jobs").click()
        expect(page.get_by_role("status")).to_have_text("Retried: 1.")
        page.goto(f"{url}/jobs?kind=compact&state=failed")
        expect(page.locator("main")).to_contain_text("No job matches the filter")
        assert errors == []


READERS: dict[str, dict[str, Any]] = {
    "english": {"locale": "en-US", "viewport": {"width": 1200, "height": 900}},
    "chinese-dark": {"locale": "zh-CN", "color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
    "telephone": {"locale": "zh-CN", "viewport": {"width": 390, "height": 800}},
}


@pytest.mark.parametrize("name", READERS)
def test_the_pages_of_jobs_are_accessible(browser: Browser, shop: Settings, cli: Cli, name: str) -> None:
    [number] = queue(shop, 1, "compact")
    with transaction(shop) as session:
        [step] = session.exec(select(Step).where(Step.job_id == number)).all()
        step.note, step.progress = "epoch 1 of 3, 120 users/s", 0.4
    paths = ["/jobs", "/jobs?state=failed", "/jobs/1", f"/jobs/{number}", f"/jobs/{number}/logs"]
    paths += ["/jobs/new", "/jobs/new/retrain", "/jobs/new/compact", "/jobs/new/export", "/jobs/new/ingest"]
    with web_server(shop) as url:
        preferences = READERS[name] | {"bypass_csp": True}
        with reader(browser, url, key_of(cli, "--role", "admin"), **preferences) as (page, errors):
            for path in paths:
                page.goto(url + path)
                for summary in page.locator("main details > summary").all():
                    summary.click()
                picture(page, f"{name}{path.replace('/', '_').replace('?', '_')}")
                assert_fits(page)
                assert_accessible(page)
            assert errors == []
