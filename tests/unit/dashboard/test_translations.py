from __future__ import annotations

import re

import pytest

from segadmin_api.dashboard.reader import LANGUAGES, preferred_language
from segadmin_api.dashboard.texts import texts
from segadmin_api.dashboard.translations import translations

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
