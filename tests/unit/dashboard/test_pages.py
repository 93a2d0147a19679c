"""Pages hold what users and plugins wrote as text, load nothing, and show a store that is empty."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from segadmin.errors import DataError
from segadmin.evaluation.bootstrap import Interval
from segadmin.events.profile import profile
from segadmin.jobs import control
from segadmin.jobs.selection import JobSelection
from segadmin.models.card import Cascade, ModelCard, card_of
from segadmin.models.versions import list_lines
from segadmin.settings import Settings
from segadmin.storage.database import transaction
from segadmin.storage.records import Job, JobState
from segadmin.training.study import load_summary
from segadmin_api.dashboard import job_list, jobs, model_card, models, problem, search_page
from segadmin_api.dashboard.assets import asset
from segadmin_api.dashboard.job_list import JobList
from segadmin_api.dashboard.reader import Reader
from segadmin_api.dashboard.render import environment, number
from tests.servers import ROOT
from tests.unit.dashboard.examples import PAGES, SAVED, a_card, a_job

HOSTILE = """</td><script>alert("1")</script><img src=x onerror='alert(2)'>&lt;{{ 7 * 7 }}{% raw %}"""
#: Every attribute that pages have; none runs a script, and of those that load something there is only the link.
ATTRIBUTES = frozenset(
    """
    action aria-current aria-describedby aria-hidden aria-invalid aria-label autocomplete autofocus charset
    checked class cols content cx cy d data-chart data-choose data-copy data-done data-events data-lines
    data-save data-theme data-time defer enctype fill font-family font-size font-weight for formnovalidate
    height hidden href hreflang http-equiv hx-get hx-select hx-swap hx-target hx-trigger id inputmode lang list max
    maxlength method min name opacity open placeholder points preserveaspectratio r rel required role rows rx
    selected size spellcheck src step stroke stroke-dasharray stroke-width style tabindex text-anchor title type
    translate value viewbox width x xmlns y
    """.split()  # noqa: SIM905
)


class Parsed(HTMLParser):
    """What a browser would make of a page: its text, its tags, and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"br", "input", "link", "meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("template", PAGES)
def test_foreign_text_is_escaped(template: str, settings: Settings) -> None:
    html = PAGES[template](settings, HOSTILE)
    page, plain = Parsed(html), Parsed(PAGES[template](settings, "plain"))
    assert page.tags == plain.tags, "the text has made no tag"
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    assert sum(map(_hostile, page.texts)) >= sum(text.count("plain") for text in plain.texts) > 0
    assert "<script>" not in html


def _hostile(text: str) -> int:
    """Return how often the text is in a part of a page, also shortened as in pictures."""
    return text.count(HOSTILE) + len(re.findall(f"{re.escape(HOSTILE[:5])}[^…]*…", text))


@pytest.mark.parametrize("template", PAGES)
def test_a_page_loads_our_own_files_alone(template: str, settings: Settings) -> None:
    page = Parsed(PAGES[template](settings, "plain"))
    assert page.open == []
    loaded = [value or "" for name, value in page.attributes if name == "src"]
    assert all(path == asset(path.split("/", 3)[3]) for path in loaded)


@pytest.mark.parametrize("template", sorted(PAGES.keys() & SAVED))
def test_a_saved_page_is_one_whole_file(template: str, settings: Settings) -> None:
    html = PAGES[template](settings, "plain")
    page = Parsed(html)
    assert html.startswith("<!doctype html>")
    assert page.open == []
    assert {"html", "head", "title", "style", "body", "h1"} <= set(page.tags)
    assert not {"script", "link", "img", "iframe", "form"} & set(page.tags)
    assert "url(" not in html and "@import" not in html


def test_every_template_is_a_page_or_a_part_of_one() -> None:
    parts = {"base.html", "macros.html", "search_sections.html", "stage_graph.html"}
    parts |= {"intervals.html", "schedule_parts.html", "settings_tabs.html", "option_fields.html"}
    parts |= {"data.html", "profile_sections.html"}
    parts |= {"estimates.html", "export_form.html", "notebook.html"}
    templates, loader = environment().list_templates(), environment().loader
    assert loader is not None
    assert set(templates) == PAGES.keys() | parts
    assert not [name for name in templates if re.search(r"\|\s*safe\b", loader.get_source(environment(), name)[0])]


def test_a_name_that_nothing_was_given_for_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        environment().from_string("{{ nothing }}").render()


@pytest.mark.parametrize(
    ("value", "spec", "text"), [(1234567, ",", "1,234,567"), (0.256, ".1%", "25.6%"), (None, ".4f", "–")]
)
def test_numbers(value: float | None, spec: str, text: str) -> None:
    assert number(value, spec) == text


def test_an_empty_store_has_all_pages(settings: Settings) -> None:
    assert "No jobs yet" in job_list.list_page([], JobList(JobSelection(), [], {}))
    assert "No older jobs" in job_list.list_page([], JobList(JobSelection(), [], {}, before=7))
    assert "No job matches the filter" in job_list.list_page([], JobList(JobSelection(("tune",)), [], {}))
    assert "No models yet" in models.list_page(list_lines(settings))
    assert "No trial has finished yet" in search_page.page(1, load_summary(settings, 1))
    with transaction(settings) as session:
        session.add(Job(kind="tune"))
    view = control.view(settings, 1)
    page = jobs.page(view, jobs.search_of(settings, view.job))
    assert "No options were set" in page
    assert "No trial has finished yet" in page
    with pytest.raises(DataError) as no_champion:
        card_of(settings, "champion")
    assert "segadmin enqueue retrain" in problem.page("Unprocessable Content", str(no_champion.value))
    with pytest.raises(DataError, match="no events yet"):
        profile(settings)


def test_a_job_page_shows_the_state_of_the_job(settings: Settings) -> None:
    failed = jobs.page(a_job("out of memory"), online=True)
    assert "out of memory" in failed
    assert "segadmin jobs retry 7" in failed
    assert 'http-equiv="refresh"' not in failed
    waiting = jobs.page(a_job("spend", JobState.QUEUED), online=True)
    assert "waits for job 6, which is changing the champion of &#39;spend&#39;" in waiting
    assert 'http-equiv="refresh"' in waiting
    kept = jobs.page(a_job("spend", JobState.QUEUED))
    assert "<nav>" not in kept and 'http-equiv="refresh"' not in kept


def test_the_reason_of_the_gate_is_escaped(settings: Settings) -> None:
    done = a_job("spend", JobState.SUCCEEDED)
    verdict = {"promoted": True, "model_version_id": 3, "reason": HOSTILE}
    gate = done.steps[0].model_copy(update={"stage": "gate", "result": verdict})
    page = Parsed(jobs.page(replace(done, steps=[gate]), online=True))
    assert f"Version 3 is champion: {HOSTILE}." in "".join(page.texts)
    assert ("href", "/models/3") in page.attributes
    assert page.tags.count("script") == 2, "our own"


def test_a_card_in_words() -> None:
    page = " ".join(" ".join(Parsed(model_card.page(a_card("gold"))).texts).split())
    for words in (
        "7 of 1,207 test rows were erased",
        "0.8000 [0.7000, 0.9000]",
        "0 events 4 model 60.0% too few users: 4",
        "1 to 5 events 70 model 60.0% all in one segment",
        "over 500 events",
        "Minimum precision per segment: 70%. 25.0% of the test rows are assigned to a segment.",
        "by time, 15% held out, seed 17: train 3,000, validation 800, test 1,200",
        "40 texts of several users in 90 rows; 25 rows left out because another part has the text; 8 test rows repeat "
        "the text of another user's training row; 1 common text in 400 rows not separated",
        "fewer than 100 training rows, whose predictions are less reliable: gold",
        "State: champion. Promoted on 2026-01-03.",
    ):
        assert words in page


def test_a_card_without_test_rows_says_why() -> None:
    card = a_card("gold").model_copy(update={"test": None, "test_missing": "the predictions no longer exist"})
    page = model_card.page(card)
    assert "the predictions no longer exist" in page
    assert "Training data and versions" in page
    assert "Calibration" not in page and "Limits" not in page


def test_the_card_of_a_cascade_says_how_many_users_the_language_model_reads() -> None:
    card = a_card("gold")
    assert "language model reads" not in model_card.page(card)
    cascade = Cascade(threshold=0.9123, language_model_fraction=0.0725, agreement=0.99)
    page = model_card.page(card.model_copy(update={"origin": card.origin.model_copy(update={"cascade": cascade})}))
    assert "from a probability of 0.912; the language model reads 7.2% of the validation users" in page


def test_a_card_warns_of_a_model_that_reveals_whom_it_was_trained_on() -> None:
    card = a_card("gold")
    assert card.membership is not None
    page = model_card.page(card)
    assert "AUC 0.5800 [0.5500, 0.6100] (95 %; 800 training rows, 800 validation rows)" in page
    assert "reveals whom it was trained on" in page
    harmless = replace(card.membership, auc=Interval(0.51, 0.48, 0.54))
    assert "reveals whom" not in model_card.page(card.model_copy(update={"membership": harmless}))
    few = replace(card.membership, auc=Interval(0.9, None, None))
    page = model_card.page(card.model_copy(update={"membership": few}))
    assert "AUC 0.9000 (800 training rows, 800 validation rows; an interval needs 50 users of each)" in page
    assert "reveals whom" not in page
    unmeasured = model_card.page(card.model_copy(update={"membership": None}))
    assert "Not measured: an older release" in unmeasured and "reveals whom" not in unmeasured


def test_a_card_of_an_older_release_does_not_mention_equal_texts() -> None:
    card = a_card("gold")
    older = card.model_copy(update={"origin": card.origin.model_copy(update={"equal_texts": None})})
    assert "equal texts" in model_card.page(card)
    assert "equal texts" not in model_card.page(older)


def test_a_card_is_in_the_language_of_the_reader() -> None:
    page = model_card.page(a_card("gold"), reader=Reader(language="zh"))
    for words in ("训练样本 800 条，验证样本 800 条", "多名用户共有的文本 40 段", "按时间划分，留出 15%", "训练 3,000"):
        assert words in " ".join(page.split())
    for words in ("training row", "held out", "several users", "users of", "probability"):
        assert words not in page


def test_a_card_is_data() -> None:
    card = a_card("gold")
    assert ModelCard.model_validate_json(card.model_dump_json()) == card


def test_html_is_written_in_templates_and_charts_only() -> None:
    tag = re.compile(r"</(a|b|body|code|div|figure|h\d|html|li|nav|p|section|span|svg|t[drh]|table|title|ul)>")
    files_with_html = {
        path.name
        for room in ("core", "plugins", "worker", "api")
        for path in (ROOT / room).rglob("*.py")
        if any(tag.search(text) for text in _strings(path))
    }
    assert files_with_html == {"charts.py", "interval_charts.py", "plots.py", "svg.py"}


def _strings(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
