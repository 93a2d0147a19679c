"""Options that hold several values: a string of a command line and a list or table of a file mean the same."""

from __future__ import annotations

from typing import Any

import pytest

from segadmin.contracts.option_text import option_text
from segadmin.contracts.plugins import load_plugins
from segadmin.errors import ConfigurationError, PluginNotFound
from segadmin.models.manifest import ModelManifest
from segadmin.models.versions import MadeWith
from segadmin.settings import Settings
from segadmin.storage.records import ModelVersion
from segadmin.text.recipe import Recipe
from segadmin.training.search_space import Choice, choices
from segadmin.workflows.tune import Tune

RECIPE = Recipe(textualizer="mixed", textualizer_version="1")


@pytest.mark.parametrize(
    ("kind", "name", "option", "text", "typed"),
    [
        ("backbone", "foresight", "readers", "tabular, linear", ["tabular", "linear"]),
        ("backbone", "foresight", "reader_options", "epochs=1", {"epochs": "1"}),
        ("backbone", "stacked", "beside", "tabular,tfidf", ["tabular", "tfidf"]),
        ("backbone", "stacked", "beside", "", []),
        ("backbone", "stacked", "text_options", "epochs=1,tuner=lora", {"epochs": "1", "tuner": "lora"}),
        ("backbone", "tiny", "tuner_options", "rank=4, alpha=8", {"rank": "4", "alpha": "8"}),
        ("backbone", "tiny", "tuner_options", "", {}),
    ],
)
def test_strings_and_typed_values_make_the_same(
    settings: Settings, kind: str, name: str, option: str, text: str, typed: Any
) -> None:
    made = [load_plugins(settings).make(kind, name, {option: value}) for value in (text, typed)]
    assert made[0] == made[1]
    stored = ModelManifest(backbone=name, backbone_options={option: text.replace(" ", "")}, recipe=RECIPE)
    version = ModelVersion(backbone=name, manifest=stored.as_json())
    assert version in MadeWith(name, {option: typed})
    assert version not in MadeWith(name, {option: "another"})


def test_a_tuner_gets_numbers_from_a_table(settings: Settings) -> None:
    plugins = load_plugins(settings)
    tuners = [
        plugins.make("backbone", "tiny", {"tuner": "lora", "tuner_options": options}).made_tuner(settings)
        for options in ("rank=4", {"rank": "4"}, {"rank": 4})
    ]
    assert tuners[0] == tuners[1] == tuners[2] == plugins.make("tuner", "lora", {"rank": 4})


def test_the_parts_of_a_text_as_a_list(settings: Settings) -> None:
    plugins = load_plugins(settings)
    text = plugins.make("textualizer", "compose", {"parts": "rfm + summary(20) + mixed(by=item)"})
    parts = ["rfm", {"name": "summary", "limit": 20}, {"name": "mixed", "by": "item"}]
    typed = plugins.make("textualizer", "compose", {"parts": parts})
    mixed = plugins.make("textualizer", "compose", {"parts": ["rfm + summary(20)", "mixed(by=item)"]})
    assert text.made == typed.made == mixed.made
    assert text.version == typed.version


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([], ConfigurationError, "names no textualizers"),
        ([{"limit": 20}], ConfigurationError, "has no name"),
        ([{"name": "compose"}], ConfigurationError, "cannot be a part of itself"),
        ([{"name": "sumary"}], PluginNotFound, "Did you mean 'summary'"),
        ([{"name": "summary", "size": 3}], ConfigurationError, "has no option 'size'"),
    ],
)
def test_lists_of_parts_that_cannot_be_used(
    settings: Settings, parts: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_plugins(settings).make("textualizer", "compose", {"parts": parts})


def test_a_table_that_is_none_names_its_option(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="tuner_options='rank': 'rank' is not key=value"):
        load_plugins(settings).make("backbone", "tiny", {"tuner_options": "rank"})


def test_a_header_and_cutoffs_may_be_lists(settings: Settings) -> None:
    plugins = load_plugins(settings)
    assert plugins.make("source", "csv", {"header": ["user", "item, or two"]}).header == ("user", "item, or two")
    labeler = plugins.make("labeler", "future-spend", {"train_cuts": [16, 24], "test_cuts": []})
    assert (labeler.train_cuts, labeler.test_cuts) == ((16, 24), ())


def test_a_search_may_be_lists_and_ranges() -> None:
    words = {"epochs": "1..4", "rate": "1e-5..1e-3:log", "tuner": "full,lora", "size": "16,32"}
    typed = {
        "epochs": {"low": 1, "high": 4},
        "rate": {"low": 1e-5, "high": 1e-3, "log": True},
        "tuner": ["full", "lora"],
        "size": [16, 32],
    }
    spaces = [choices(Tune.model_validate({"search": search}).search) for search in (words, typed)]
    assert spaces[0] == spaces[1]
    stored = Tune.model_validate({"search": typed}).model_dump(mode="json")
    assert choices(Tune.model_validate(stored).search) == spaces[0]
    with pytest.raises(ConfigurationError, match="a range goes up"):
        choices(Tune.model_validate({"search": {"epochs": {"low": 4, "high": 1}}}).search)
    with pytest.raises(ConfigurationError, match="leaves nothing to choose"):
        Choice.of("epochs", (3,))


def test_values_are_shown_as_a_command_line_takes_them() -> None:
    values = (["tabular", "linear"], {"rank": 4, "alpha": 8}, 0.1, "x")
    assert [option_text(value) for value in values] == ["tabular,linear", "rank=4,alpha=8", "0.1", "x"]
