"""The report of a snapshot: by command, over HTTP and from its page, the same in each."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest

from segadmin.settings import Settings
from segadmin_api.cli.report import Language
from segadmin_api.dashboard.reader import LANGUAGES
from tests.conftest import Cli
from tests.planted import Run, more_weeks, planted_users
from tests.servers import web_server


@pytest.fixture
def shop_of_two(shop: Settings) -> Settings:
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {"force": True}).all()
    return shop


class _Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_a_report_is_one_file_in_both_languages(shop_of_two: Settings, cli: Cli, tmp_path: Path) -> None:
    assert {language.value for language in Language} == LANGUAGES.keys()
    for language, words in (("en", "In short"), ("zh", "要点")):
        out = tmp_path / f"{language}.html"
        done = cli("report", "--html", f"{out}", "--language", language, "--timezone", "Asia/Shanghai")
        assert f"{out}" in done.stdout.replace("\n", "")
        html = out.read_text(encoding="utf-8")
        page = _Tags(html)
        assert words in html
        assert page.tags.count("figure") >= 7 and page.tags.count("svg") == 2 * page.tags.count("figure"), (
            "also a narrow one"
        )
        assert not page.loads and "script" not in page.tags
        assert "url(" not in html and "@import" not in html
        assert "@media print" in html and "prefers-color-scheme: dark" in html


def test_charts_are_files_and_facts_are_json(shop_of_two: Settings, cli: Cli, tmp_path: Path) -> None:
    facts = json.loads(cli("report", "2", "--charts", f"{tmp_path / 'charts'}", "--json").stdout)
    names = {Path(file).stem for file in facts["files"]}
    assert {"segments", "trend", "movement", "confidence", "precision"} <= names
    for file in facts["files"]:
        assert ElementTree.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert sum(row["users"] for row in facts["segments"]) == facts["snapshot"]["users"] == 240


def test_what_cannot_be_written_says_what_to_do(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    assert "--html report.html" in cli("report", check=False).stderr
    missing = f"{tmp_path / 'none' / 'report.html'}"
    assert "Name a folder that exists" in cli("report", "--html", missing, check=False).stderr
    (tmp_path / "file").write_text("")
    assert "cannot be made" in cli("report", "--charts", f"{tmp_path / 'file'}", check=False).stderr
    assert "segadmin snapshots list" in cli("report", "99", "--json", check=False).stderr
    assert "There is no time zone 'Mars'" in cli("report", "--json", "--timezone", "Mars", check=False).stderr


def test_the_report_is_sent_as_a_file(shop_of_two: Settings, cli: Cli, tmp_path: Path) -> None:
    key = cli("keys", "create", "me", "--role", "viewer").stdout.split()[0]
    events = cli("keys", "create", "shop").stdout.split()[0]
    cli("report", "--html", f"{tmp_path / 'report.html'}", "--language", "zh")
    with web_server(shop_of_two) as url, httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        sent = http.get("/v1/snapshots/current/report", params={"language": "zh"})
        assert sent.status_code == 200
        assert sent.headers["content-type"] == "text/html; charset=utf-8"
        assert sent.headers["content-disposition"].startswith('attachment; filename="segadmin-report-spend3-2-zh.html"')
        assert _without_time(sent.text) == _without_time((tmp_path / "report.html").read_text(encoding="utf-8"))
        page = http.get("/snapshots/2").text
        assert 'href="/snapshots/2/report"' in page
        saved = http.get("/snapshots/2/report", headers={"Accept-Language": "zh-CN"})
        assert _without_time(saved.text) == _without_time(sent.text)
        for path, status in (
            ("/v1/snapshots/99/report", 404),
            ("/v1/snapshots/2/report?language=de", 422),
            ("/v1/snapshots/2/report?zone=Mars", 422),
            ("/snapshots/99/report", 404),
        ):
            assert http.get(path).status_code == status, path
        refused = http.get("/v1/snapshots/2/report", headers={"Authorization": f"Bearer {events}"})
        assert refused.status_code == 403


def _without_time(html: str) -> str:
    return re.sub(r"报告生成于 [^<]+", "", html)
