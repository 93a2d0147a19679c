"""The registry: names, options, and plugins that fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import segadmin
from segadmin.contracts.backbone import FitContext, load_fitted
from segadmin.contracts.plugins import Plugins, load_plugins
from segadmin.contracts.resolve import resolve_backbone
from segadmin.errors import ConfigurationError, PluginError, PluginNotFound
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.linear import Linear, LinearClassifier
from tests.servers import ROOT

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


def test_a_misspelling_gets_a_suggestion(plugins: Plugins) -> None:
    with pytest.raises(PluginNotFound, match=r"There is no textualizer 'mixd'. Did you mean 'mixed'\?"):
        plugins.find("textualizer", "mixd")


def test_a_file_is_a_plugin(settings: Settings, tmp_path: Path) -> None:
    plugins = load_plugins(with_file(settings, tmp_path, FILE))
    assert plugins.find("textualizer", "shouting").distribution == "mine.py"
    assert isinstance(plugins.make("textualizer", "shouting"), segadmin.Textualizer)


def test_a_failing_hook_is_named_and_the_others_are_called(settings: Settings, tmp_path: Path) -> None:
    plugins = load_plugins(with_file(settings, tmp_path, FILE))
    heard = []

    class Listener:
        @segadmin.hookimpl
        def job_finished(self, job: object) -> None:
            heard.append(job)

    plugins.manager.register(Listener())
    with pytest.raises(PluginError) as error:
        plugins.announce("job_finished", job="the job")
    assert str(error.value) == (
        f"The plugin {tmp_path / 'mine.py'} failed in job_finished: RuntimeError: no network (mine.py, line 14)."
    )
    assert heard == ["the job"]


#: A plugin file → what is told of it, between the file's name and the fix.
BROKEN = {
    "\nimport nowhere": "it cannot be imported: ModuleNotFoundError: No module named 'nowhere' (mine.py, line 2)",
    "import segadmin\nx = (": "it cannot be imported: SyntaxError: '(' was never closed (mine.py, line 2)",
    "import sys\nsys.exit(7)": "it cannot be imported: SystemExit: 7 (mine.py, line 2)",
    "raise BaseException('no')": "it cannot be imported: BaseException: no (mine.py, line 1)",
    "import asyncio\nraise asyncio.CancelledError": "it cannot be imported: CancelledError (mine.py, line 2)",
    FILE.replace("return [shouting]", "raise GeneratorExit"): "register_textualizers failed: GeneratorExit "
    "(mine.py, line 10)",
    "import json\n\njson.loads('{')": "it cannot be imported: JSONDecodeError: Expecting property name enclosed in "
    "double quotes: line 1 column 2 (char 1) (mine.py, line 3)",
    "raise ValueError('a\\nb')": "it cannot be imported: ValueError: a b (mine.py, line 1)",
    FILE.replace("def shouting", "def mixed").replace("[shouting]", "[mixed]"): "register_textualizers gives the "
    "textualizer 'mixed', which segadmin 0.1.0 has",
    FILE.replace("return [shouting]", "return 5"): "register_textualizers returned 5 and not a list",
    FILE.replace("return [shouting]", "return None"): None,
    FILE.replace("[shouting]", "[5]"): "register_textualizers has 5 in its list, which is neither a textualizer class "
    "with a name nor 'name = module:Class'",
    FILE.replace("[shouting]", "['shouting']"): "register_textualizers has 'shouting' in its list, which is neither a "
    "textualizer class with a name nor 'name = module:Class'",
    FILE.replace("return [shouting]", "1 / 0"): "register_textualizers failed: ZeroDivisionError: division by zero "
    "(mine.py, line 10)",
    FILE.replace("return [shouting]", "raise SystemExit(7)"): "register_textualizers failed: SystemExit: 7 "
    "(mine.py, line 10)",
    FILE.replace("job_finished", "job_finnished"): "there is no hook 'job_finnished'. Did you mean 'job_finished'?",
    FILE.replace("job_finished(job)", "job_finished(work)"): "Plugin",
}


@pytest.mark.parametrize(("source", "words"), list(BROKEN.items()))
def test_a_broken_file_says_what_is_wrong_and_the_rest_goes_on(
    settings: Settings, tmp_path: Path, source: str, words: str | None
) -> None:
    plugins = load_plugins(with_file(settings, tmp_path, source))
    assert "mixed" in plugins.names("textualizer")
    path = tmp_path / "mine.py"
    if words is None:  # pluggy leaves the answer None out
        assert plugins.broken == {}
        return
    message = str(plugins.broken[str(path)])
    assert message.startswith(f"The plugin file {path} is not loaded: {words}")
    assert message.endswith("Correct it, or take it out of SEGADMIN_PLUGIN_FILES.")
    assert "\n" not in message
    assert "?." not in message
    assert "shouting" not in plugins.names("textualizer"), "nothing of it is there"
    with pytest.raises(PluginNotFound) as error:
        plugins.find("textualizer", "shouting")
    assert message in str(error.value), "a name that is missing may be of that plugin"


def test_ctrl_c_in_a_plugin_interrupts(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_plugins(with_file(settings, tmp_path, "raise KeyboardInterrupt"))


def test_a_missing_file_is_named(settings: Settings) -> None:
    missing = load_plugins(settings.model_copy(update={"plugin_files": (Path("nowhere.py"),)}))
    assert str(missing.broken["nowhere.py"]).startswith("The plugin file nowhere.py is not loaded: there is no such")


def test_a_source_that_cannot_be_imported_or_asked_keeps_no_other_from_being_chosen(
    settings: Settings, tmp_path: Path
) -> None:
    source = """
import segadmin

class Aaa(segadmin.Source):
    name = "aaa"
    def chunks(self, where, rows):
        yield from ()
    @classmethod
    def takes(cls, where):
        raise SystemExit(7)

@segadmin.hookimpl
def register_sources():
    return [Aaa, "bbb = nowhere:Bbb"]
"""
    plugins = load_plugins(with_file(settings, tmp_path, source))
    assert plugins.choose("source", lambda plugin: plugin.takes("events.csv")) == "csv"
    assert plugins.choose("source", lambda plugin: plugin.takes("events.nothing")) is None
    assert "The source 'aaa' of mine.py failed: SystemExit: 7 (mine.py, line 10)." in plugins.failures
    assert "The source 'bbb' of mine.py cannot be imported: ModuleNotFoundError" in plugins.failures


@dataclass(frozen=True)
class _Counting(segadmin.Textualizer):
    name = "counting"
    limit: int = 3

    def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
        return events.select("user_key", position=pl.lit(0), phrase=pl.col("kind")).limit(self.limit)


def test_options_become_what_the_field_says(plugins: Plugins) -> None:
    from segadmin.contracts.plugins import Registered

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
    assert sorted(segadmin.__all__) == sorted(segadmin._MODULES)
    for name in segadmin.__all__:
        assert getattr(segadmin, name) is not None
    with pytest.raises(AttributeError):
        _ = segadmin.nonsense


def test_a_backbone_of_before_is_loaded_without_settings(settings: Settings, tmp_path: Path) -> None:
    class Before(Linear):
        def load(self, folder: Path) -> LinearClassifier:  # type: ignore[override]
            return super().load(folder, settings)

    (tmp_path / "checkpoints").mkdir()
    train = planted(40)
    fitted = Linear().fit(train, train, FitContext(settings, tmp_path / "checkpoints"))
    fitted.save(tmp_path / "saved")
    expected = fitted.predict(train)
    for backbone in (Before(), Linear()):
        assert np.allclose(load_fitted(backbone, tmp_path / "saved", settings).predict(train), expected)


def test_an_error_inside_load_is_not_taken_for_an_old_signature(settings: Settings, tmp_path: Path) -> None:
    class Broken(Linear):
        def load(self, folder: Path, settings: Settings) -> LinearClassifier:
            raise TypeError("of its own")

    with pytest.raises(TypeError, match="of its own"):
        load_fitted(Broken(), tmp_path, settings)


def test_plugins_are_made_for_an_installation_if_they_ask(settings: Settings, tmp_path: Path) -> None:
    """A plugin of before, or one that needs nothing, does not know of it."""
    file = tmp_path / "asking.py"
    file.write_text(
        "import segadmin\n"
        "class Plain:\n"
        "    name = 'plain'\n"
        "class Asking(segadmin.Source):\n"
        "    name = 'asking'\n"
        "    def with_settings(self, settings):\n"
        "        self.language = settings.language\n"
        "        return self\n"
        "    def chunks(self, where, rows):\n"
        "        yield from ()\n"
        "@segadmin.hookimpl\n"
        "def register_sources():\n"
        "    return [Plain, Asking]\n"
    )
    plugins = load_plugins(settings.model_copy(update={"plugin_files": (file,), "language": "zh"}))
    assert plugins.make("source", "asking").language == "zh"
    assert type(plugins.make("source", "plain")).__name__ == "Plain"


def test_no_built_in_plugin_reads_the_settings_of_the_process() -> None:
    programs = {"training_speed.py"}  # run as a process of its own
    readers = {
        path.name for path in (ROOT / "plugins").rglob("*.py") if "get_settings" in path.read_text(encoding="utf-8")
    }
    assert readers == programs


def test_a_renamed_backbone_is_found_by_its_old_name_and_listed_once(settings: Settings) -> None:
    plugins = load_plugins(settings)
    assert plugins.find("backbone", "foresight") is plugins.find("backbone", "auxiliary-stacking")
    assert "foresight" not in plugins.names("backbone")
    assert resolve_backbone(plugins, "foresight", {"folds": 2}) == ("auxiliary-stacking", {"folds": 2})
    assert plugins.make("backbone", "foresight", {"folds": 2}).folds == 2


def test_an_alias_must_not_take_a_name_that_is_taken(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "taking.py"
    file.write_text("import segadmin\n@segadmin.hookimpl\ndef register_backbones():\n    return ['linear = tabular']\n")
    plugins = load_plugins(settings.model_copy(update={"plugin_files": (file,)}))
    assert "which segadmin" in str(plugins.broken[str(file)])
    assert plugins.find("backbone", "linear").name == "linear"


def test_class_attributes_of_before_are_honoured() -> None:
    with pytest.warns(DeprecationWarning, match="goes_on is called supports_warm_start now"):

        class Before(Linear):
            goes_on = True

    assert Before.supports_warm_start
    assert not Before.supports_auxiliary_tasks


@pytest.mark.parametrize(("former", "name"), [("Fit", "FitContext"), ("Learnt", "SavableModel")])
def test_a_former_public_name_still_works_with_a_warning(former: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"segadmin\.{former} is now segadmin\.{name}") as warnings:
        assert getattr(segadmin, former) is getattr(segadmin, name)
    assert warnings[0].filename == __file__
    assert former not in dir(segadmin)
