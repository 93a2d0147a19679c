"""Template files: other sentences, several of them for training, and what is wrong with a file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from segadmin.contracts.plugins import load_plugins
from segadmin.contracts.templates import check_templates, fill, read_templates
from segadmin.contracts.textualizer import TextContext
from segadmin.errors import ConfigurationError, PluginNotFound
from segadmin.settings import Settings
from segadmin.text.variant import CANONICAL, Variant
from tests.unit.text.rows import AS_OF, events

FILE = """
[zh.summary]
aggregate = ["{verb}过{category}{times}回", "{category}：{verb}×{times}"]
[zh.verbs]
purchase = "剁手"
"""


def read(settings: Settings, text: str, tmp_path: Path) -> dict[str, tuple[str, ...]]:
    path = tmp_path / "templates.toml"
    path.write_text(text)
    merged = {}
    for templates in read_templates(path).values():
        check_templates(load_plugins(settings), templates)
        merged |= templates
    return merged


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{a}-{b}", ["1-x", "2-"]),
        ("{a}[, {b}]!", ["1, x!", "2!"]),
        ("[{b}: ]{a}[ {b}{a}]", ["x: 1 x1", "2"]),
        ("{b}[ ({b})]", ["x (x)", ""]),
        ("{a}[ {none}]", ["1", "2"]),
        ("[{a}]", ["1", "2"]),
        ("as it is", ["as it is"]),
    ],
)
def test_a_bracketed_part_is_dropped_with_its_missing_value(template: str, expected: list[str]) -> None:
    frame = pl.DataFrame({"a": ["1", "2"], "b": ["x", None]}).with_columns(none=pl.lit(None, pl.String))
    parts = {name: pl.col(name) for name in frame.columns}
    assert frame.select(fill(template, parts).alias("said"))["said"].to_list() == expected
    assert frame.clear().select(fill(template, parts).alias("said"))["said"].dtype == pl.String


def test_a_file_overrides_the_templates(settings: Settings, tmp_path: Path) -> None:
    templates = read(settings, FILE, tmp_path)
    log = events({"kind": "purchase", "category": "水果"}, {"kind": "purchase", "category": "水果"})
    summary = load_plugins(settings).make("textualizer", "summary")

    def first_phrase(variant: int, user: int = 1) -> str:
        context = TextContext(AS_OF - timedelta(days=28), AS_OF, "zh", templates, variant)
        mine = log.with_columns(user_key=pl.lit(user, pl.Int64)).lazy()
        return str(summary.phrases(mine, context).collect()["phrase"][0])

    assert first_phrase(0) == "剁手过水果2回"
    assert {first_phrase(1, user << 32) for user in range(8)} == {"剁手过水果2回", "水果：剁手×2"}
    assert [first_phrase(1, 9 << 32) != first_phrase(2, 9 << 32)] == [True], "another copy says it the other way"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[zh.sumary]\naggregate = 'x'", "Did you mean 'summary'?"),
        ("[zh.summary]\nagregate = 'x'", "summary has no template 'agregate'. Did you mean 'aggregate'?"),
        ("[zh.summary]\naggregate = '{verb}{price}'", "cannot use 'price' in '{verb}{price}': it may use {category}"),
        ("[zh.summary]\naggregate = '{Verb}'", "cannot use '{Verb}'"),
        ("[fr.summary]\naggregate = 'x'", "'fr', which is not a language"),
        ("[zh.summary]\naggregate = 3", "'aggregate' under [zh.summary], not a text or list of texts"),
        ("[zh.summary]\naggregate = []", "not a text or list of texts"),
        ("[zh]\nsummary = 'x'", "'summary' under [zh.summary]"),
        ("[zh.verbs]\nbuy = 'x'", "verbs has no template 'buy'"),
        ("[zh", "cannot be read"),
    ],
)
def test_an_error_in_a_file_names_the_problem(settings: Settings, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises((ConfigurationError, PluginNotFound)) as error:
        read(settings, text, tmp_path)
    assert message in str(error.value)


def test_a_variant_leaves_out_some_events_and_reorders_one_moment() -> None:
    log = pl.LazyFrame({"event_id": list(range(1000)), "phrase": [f"p{n}" for n in range(1000)]})
    assert CANONICAL.some_of(log).collect().height == 1000
    first, second = (Variant(n, 0.1).some_of(log).collect()["event_id"].to_list() for n in (1, 2))
    assert 850 < len(first) < 950
    assert first == Variant(1, 0.1).some_of(log).collect()["event_id"].to_list()
    assert first != second
    orders = [log.sort(Variant(n).order).collect()["phrase"].to_list() for n in range(3)]
    assert len({tuple(order) for order in orders}) == 3
