"""The templates of messages in the catalogue are those of the program: whoever rewords an error finds this out."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from segadmin_api.dashboard.messages import message_text
from segadmin_api.dashboard.reader import LANGUAGES
from segadmin_api.dashboard.translations import entries
from tests.servers import ROOT

#: What stands for a value.
GAP = "\x00"


@cache
def _texts() -> frozenset[str]:
    """Return the texts of the program with a gap for each value."""
    folders = ("core", "plugins", "worker", "api")
    trees = [ast.parse(path.read_text()) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return frozenset(text for tree in trees for node in ast.walk(tree) if (text := _text(node)))


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"{[^{}]*}", GAP, node.value)  # also of texts for str.format
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values]
        return "".join(parts)
    return ""


@pytest.mark.parametrize("language", sorted(LANGUAGES.keys() - {"en"}))
def test_every_template_is_a_text_of_the_program(language: str) -> None:
    templates = entries(language, "message")
    assert templates
    gaps = {text: re.sub(r"%\(\w+\)s", GAP, text).replace("%%", "%") for text in templates}
    assert [text for text, gapped in gaps.items() if gapped not in _texts()] == []


@pytest.mark.parametrize("language", sorted(LANGUAGES.keys() - {"en"}))
def test_a_translation_has_no_value_that_its_template_lacks(language: str) -> None:
    names = re.compile(r"%\((\w+)\)s")
    for template, translation in entries(language, "message").items():
        assert translation and set(names.findall(translation)) <= set(names.findall(template)), template


@pytest.mark.parametrize(
    ("message", "translated"),
    [
        ("There is no champion for 'low'. Did you mean 'lov'?", "'low' 没有现用模型。您是否想写 'lov'？"),
        ("score: There is no file a b.csv. Check the path.", "评分：没有文件 a b.csv。请检查路径。"),
        (
            "no trigger fired: there is no drift report yet; AUROC is 0.8000 and was 0.8100 in the test",
            "没有触发条件成立：还没有漂移报告；AUROC 为 0.8000，测试时为 0.8100",
        ),
        (
            "2018-01-01 has 5 of 3,746 expected events (purchase); 2018-01-02 has 0 of 60 expected events (all kinds)",
            "2018-01-01 有 5 个事件（购买），预期为 3,746 个；2018-01-02 有 0 个事件（所有类型），预期为 60 个",
        ),
        (
            "test AUROC 0.85, and the champion (version 1) has 0.84 on the same rows; as a canary it scores 10% of the "
            "users until 2018-01-11",
            "测试 AUROC 为 0.85，现用模型（版本 1） 在相同样本上为 0.84；"
            "作为灰度版本为 10% 的用户评分，直到 2018-01-11",
        ),
        ("a 100% new error: %(x)s {y}", "a 100% new error: %(x)s {y}"),
    ],
)
def test_messages_are_translated_with_what_they_quote(message: str, translated: str) -> None:
    assert message_text("zh", message) == translated
    assert message_text("en", message) == message
