from __future__ import annotations

import re

import pytest

from segadmin.settings import Settings
from segadmin_api.dashboard.names import ACTIONS, name_text, names
from segadmin_api.dashboard.reader import LANGUAGES, preferred_language
from segadmin_api.dashboard.texts import texts
from segadmin_api.dashboard.translations import translations
from segadmin_api.plugin_details import list_plugins, plugin_details, summary_of
from tests.servers import ROOT

#: Texts that are the same in every language.
SAME = {"AUROC", "ECE"}


@pytest.mark.parametrize("language", sorted(LANGUAGES.keys() - {"en"}))
def test_every_text_is_translated_with_its_values(language: str) -> None:
    translated = {text: translations(language).gettext(text) for text in texts()}
    assert {text for text, other in translated.items() if text == other} == SAME
    names = re.compile(r"%%|%\(\w+\)s")
    different = {
        text for text, other in translated.items() if sorted(names.findall(text)) != sorted(names.findall(other))
    }
    assert not different


def test_every_name_is_translated(settings: Settings) -> None:
    built_in = [each for each in list_plugins(settings) if each.distribution.startswith("segadmin ")]
    summaries = {summary_of(plugin_details(settings, each.kind, each.name).doc) for each in built_in}
    assert len(summaries) > 40
    known = names() | {("summary", summary) for summary in summaries}
    assert {(context, name) for context, name in known if name_text("zh", name, context) == name} == set()


def test_the_actions_are_those_that_are_recorded() -> None:
    pattern = re.compile(r'\b(?:entry|record)\(\s*(?:settings, )?"([a-z_.]+)"')
    paths = [path for folder in ("core", "api") for path in (ROOT / folder).rglob("*.py")]
    recorded = {action for path in paths for action in pattern.findall(path.read_text())}
    assert len(recorded) > 20
    assert recorded <= set(ACTIONS)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("de,zh-TW;q=0.5", "zh"),
        ("de, fr", "en"),
        ("", "en"),
        ("zh;q=none, en;q=0.5", "zh"),
        (";;;,,,", "en"),
    ],
)
def test_the_browser_s_language_is_the_default(header: str, language: str) -> None:
    assert preferred_language(header) == language
