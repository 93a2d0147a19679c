"""The registry: names, options, and plugins that fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

import segadmin
from segadmin.errors import ConfigurationError, PluginError, PluginLoadError, PluginNotFound
from segadmin.plugins import Plugins, load_plugins
from segadmin.settings import Settings

FILE = """
import segadmin

@segadmin.per_user
def shouting(events, context):
    return [event["kind"].upper() for event in events]

@segadmin.hookimpl
def register_textualizers():
    return [shouting]

@segadmin.hookimpl
def job_finished(job):
    raise RuntimeError("no network")
"""


@pytest.fixture
def plugins(settings: Settings) -> Plugins:
    return load_plugins(settings)


def with_file(settings: Settings, tmp_path: Path, source: str) -> Settings:
    path = tmp_path / "mine.py"
    path.write_text(source)
    return settings.model_copy(update={"plugin_files": (path,)})


def test_a_slip_is_answered_with_the_name_that_was_meant(plugins: Plugins) -> None:
    with pytest.raises(PluginNotFound, match=r"There is no textualizer 'mixd'. Did you mean 'mixed'\?"):
        plugins.find("textualizer", "mixd")


def test_a_file_is_a_plugin(settings: Settings, tmp_path: Path) -> None:
    plugins = load_plugins(with_file(settings, tmp_path, FILE))
    assert plugins.find("textualizer", "shouting").distribution == "mine.py"
    assert isinstance(plugins.make("textualizer", "shouting"), segadmin.Textualizer)


def test_a_failing_hook_is_named(settings: Settings, tmp_path: Path) -> None:
    plugins = load_plugins(with_file(settings, tmp_path, FILE))
    with pytest.raises(PluginError, match=r"A plugin failed in job_finished: RuntimeError\('no network'\)"):
        plugins.announce("job_finished", job=None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nowhere_to_be_found", "fails when imported: ModuleNotFoundError"),
        (
            FILE.replace("def shouting", "def mixed").replace("[shouting]", "[mixed]"),
            "registers the textualizer 'mixed'",
        ),
    ],
)
def test_a_broken_file_says_what_is_wrong(settings: Settings, tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(PluginLoadError, match=words):
        load_plugins(with_file(settings, tmp_path, source))


def test_a_missing_file_is_named(settings: Settings) -> None:
    missing = settings.model_copy(update={"plugin_files": (Path("nowhere.py"),)})
    with pytest.raises(PluginLoadError, match=r"nowhere.py cannot be read"):
        load_plugins(missing)


@dataclass(frozen=True)
class _Counting(segadmin.Textualizer):
    name = "counting"
    limit: int = 3

    def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
        return events.select("user_key", position=pl.lit(0), phrase=pl.col("kind")).limit(self.limit)


def test_options_become_what_the_field_says(plugins: Plugins) -> None:
    from segadmin.plugins import Registered

    plugins.registered["textualizer"]["counting"] = Registered("textualizer", "counting", _Counting, "test")
    try:
        assert plugins.make("textualizer", "counting", {"limit": "7"}).limit == 7
        with pytest.raises(ConfigurationError, match=r"has no option 'limt'. Did you mean 'limit'\?"):
            plugins.make("textualizer", "counting", {"limt": "7"})
        with pytest.raises(ConfigurationError, match=r"cannot use limit='many'"):
            plugins.make("textualizer", "counting", {"limit": "many"})
    finally:
        del plugins.registered["textualizer"]["counting"]


def test_the_public_names_all_exist() -> None:
    assert sorted(segadmin.__all__) == sorted(segadmin._HOMES)
    for name in segadmin.__all__:
        assert getattr(segadmin, name) is not None
    with pytest.raises(AttributeError):
        _ = segadmin.nonsense
