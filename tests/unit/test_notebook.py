"""What notebooks show: escaped, of one piece, with the numbers of the value, and without users."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from segadmin.errors import ConfigurationError
from segadmin.jobs.enqueue import enqueue
from segadmin.jobs.requests import check_request
from segadmin.models.versions import list_lines
from segadmin.monitoring.snapshot_report import read_report
from segadmin.settings import Settings
from segadmin.snapshots.read import list_snapshots
from segadmin.storage.database import reading
from segadmin_api.client import Client
from segadmin_api.notebook import html_of, load_ipython_extension, set_language, show
from tests.conftest import Cli
from tests.planted import Run, more_weeks, planted_users
from tests.servers import web_server
from tests.unit.dashboard.examples import a_diff, a_job, a_report, a_version
from tests.unit.dashboard.test_pages import HOSTILE, Parsed

RECORDS: dict[str, Callable[[str], Any]] = {
    "report": a_report,
    "difference": a_diff,
    "version": a_version,
    "model": lambda text: a_version(text).version,
    "snapshot": lambda text: a_report(text).snapshot,
    "job": a_job,
    "job record": lambda text: a_job(text).job,
    "snapshots": lambda text: [a_report(text).snapshot, a_report(text).snapshot],
    "segments": lambda text: a_report(text).segments,
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_escaped_and_loads_nothing(name: str) -> None:
    shown, plain = Parsed(html_of(RECORDS[name](HOSTILE))), Parsed(html_of(RECORDS[name]("plain")))
    assert shown.tags == plain.tags and shown.open == []
    assert not {"script", "link", "img", "iframe"} & set(shown.tags)
    assert not {name for name, _ in shown.attributes} & {"src", "href", "onclick"}
    assert "plain" in " ".join(plain.texts)


@pytest.mark.parametrize("name", RECORDS)
def test_a_card_is_chinese(name: str) -> None:
    set_language("zh")
    try:
        shown, asked = html_of(RECORDS[name]("数据")), html_of(RECORDS[name]("数据"), "en")
    finally:
        set_language("en")
    assert show(RECORDS[name]("数据"), "zh")._repr_html_() == shown
    assert html_of(RECORDS[name]("数据")) == asked, "English is the default"
    words = re.findall(r"[A-Za-z]{3,}", " ".join(text for text in Parsed(shown).texts if "{" not in text))
    assert set(words) <= {"AUROC", "ECE", "high"}, words


def test_there_are_cards_in_two_languages() -> None:
    for refused in (lambda: show([], "fr"), lambda: set_language("fr")):
        with pytest.raises(ConfigurationError, match="There are: en, zh"):
            refused()


class _Formatter:
    def __init__(self) -> None:
        self.types: dict[type, Callable[..., Any]] = {}

    def for_type(self, kind: type, function: Callable[..., Any]) -> None:
        self.types[kind] = function


def test_records_and_lists_of_a_shop(shop: Settings) -> None:
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {"force": True}).all()
    report = read_report(shop)
    words = " ".join(Parsed(html_of(report)).texts)
    assert all(f"{row.users} ({row.share:.1%})" in words for row in report.segments)
    with reading(shop) as session:
        listed = Parsed(show(list_snapshots(session))._repr_html_())
    assert {"Snapshot 2", "Snapshot 1", "2 in this list"} <= set(listed.texts)
    assert "Model 1" in show(list_lines(shop))._repr_html_()
    assert "Nothing is in this list" in show([])._repr_html_()
    compared = html_of(report.compared)
    assert not [key for key in planted_users(shop)["user_key"] if f"{key}" in compared]
    with pytest.raises(TypeError, match="cannot show a int"):
        show(3)._repr_html_()


def test_an_answer_of_the_client_shows_itself(shop: Settings, cli: Cli) -> None:
    checked = check_request(shop, "tune", {"backbone": "tabular"})
    job = enqueue(shop, lambda _messages: None, "tune", checked).job.id
    key = cli("keys", "create", "me", "--role", "viewer").stdout.split()[0]
    with web_server(shop) as url, Client(url, key) as client:
        snapshot = client.show_snapshot()
        html = snapshot._repr_html_()
        assert "<svg" in html
        assert all(each.segment in html and f"{each.users}" in html for each in snapshot.segments)
        assert f"Job {job}: tune" in client.list_jobs()._repr_html_()
        assert "queued" in client.show_job(job or 0)._repr_html_()
        assert "further pages" in client.list_jobs(limit=1)._repr_html_()
        assert "AUROC" in client.show_model(1)._repr_html_()
        assert "Snapshot 1" in client.list_snapshots()._repr_html_()
        assert "confidence" in client.list_segments()._repr_html_()
        with pytest.raises(TypeError):
            client.list_members(1, limit=2)._repr_html_()


def test_the_extension_registers_records_with_their_titles_as_text() -> None:
    class Display:
        formatters = {"text/html": _Formatter(), "text/plain": _Formatter()}  # noqa: RUF012

    class IPython:
        display_formatter = Display

    class Printer:
        written: list[str] = []  # noqa: RUF012

        def text(self, words: str) -> None:
            self.written.append(words)

    load_ipython_extension(IPython)
    html, plain = (Display.formatters[kind].types for kind in ("text/html", "text/plain"))
    for make in RECORDS.values():
        value = make("plain")
        if type(value) in html:
            assert "segadmin-shown" in html[type(value)](value)
            plain[type(value)](value, Printer(), False)
    assert "Snapshots 1 → 2" in Printer.written
