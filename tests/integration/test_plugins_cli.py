"""``segadmin plugins``, as an author sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segadmin.settings import Settings
from tests.conftest import Cli

GOOD = """
import segadmin

@segadmin.per_user
def shouting(events, context):
    return [event["kind"].upper() for event in events]

@segadmin.per_user
def counting(events, context):
    return [f"{len(events)} events"]

@segadmin.hookimpl
def register_textualizers():
    return [shouting, counting]
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with an installed distribution whose plugin fails when imported."""
    facts = tmp_path / "site" / "segadmin_broken-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: segadmin-broken\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[segadmin]\nbroken = segadmin_broken\n")
    (facts.parent / "segadmin_broken.py").write_text("import nowhere_to_be_found\n")
    return facts.parent


def test_a_listing_by_kind(cli: Cli) -> None:
    facts = json.loads(cli("plugins", "list", "--kind", "textualizer", "--json").stdout)
    assert [plugin["name"] for plugin in facts["plugins"]] == [
        "compose",
        "journey",
        "list",
        "mixed",
        "reviews",
        "rfm",
        "sessions",
        "summary",
        "timeline",
    ]
    assert {plugin["kind"] for plugin in facts["plugins"]} == {"textualizer"}
    assert all(plugin["from"].startswith("segadmin ") for plugin in facts["plugins"])
    shown = cli("plugins", "list").stdout
    assert all(word in shown for word in ("timeline", "minilm", "future-spend", "parquet"))
    slip = cli("plugins", "list", "--kind", "textualiser", check=False)
    assert slip.returncode == 1
    assert "Did you mean 'textualizer'?" in slip.stderr


def test_listing_imports_nothing_heavy(settings: Settings) -> None:
    script = (
        "import sys; from segadmin_api.cli import app; app(['plugins', 'list'], standalone_mode=False); "
        "print(sorted({'torch', 'transformers', 'polars', 'pyarrow', 'lightgbm', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_broken_plugin_is_listed_with_its_fix_and_others_work(cli: Cli, broken: Path) -> None:
    path = os.pathsep.join([str(broken), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = cli("plugins", "list", PYTHONPATH=path)
    assert "timeline" in done.stdout
    assert (
        "The plugin segadmin-broken 1.0 is not loaded: it cannot be imported: ModuleNotFoundError: No module"
        in done.stderr
    )
    assert "(segadmin_broken.py, line 1). Upgrade it, or set" in done.stderr
    assert "SEGADMIN_PLUGINS_DISABLED=segadmin-broken" in done.stderr
    facts = json.loads(cli("plugins", "list", "--json", PYTHONPATH=path).stdout)
    assert len(facts["broken"]) == 1
    mended = cli("plugins", "list", PYTHONPATH=path, SEGADMIN_PLUGINS_DISABLED="segadmin-broken")
    assert mended.stderr == ""


def test_a_plugin_is_shown_with_options_and_description(cli: Cli) -> None:
    facts = json.loads(cli("plugins", "show", "textualizer", "timeline", "--json").stdout)
    assert facts["options"] == [
        {"option": "limit", "type": "whole number", "default": 32},
        {"option": "raw_user_ids", "type": "true or false", "default": False},
    ]
    assert facts["doc"].startswith("One sentence per event, newest first.")
    shown = cli("plugins", "show", "backbone", "tiny").stdout
    assert "max_tokens" in shown
    assert "Did you mean 'mixed'?" in cli("plugins", "show", "textualizer", "mixd", check=False).stderr


def test_all_of_a_file_is_checked(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    output = cli("plugins", "check", str(path)).stdout
    assert "The textualizer 'shouting' keeps its contract. A sample user reads:\n  VIEW\n  CART\n" in output
    assert "The textualizer 'counting' keeps its contract. A sample user reads:\n  6 events\n" in output
    output_of_one = cli("--plugin-file", str(path), "plugins", "check", "counting").stdout
    assert "shouting" not in output_of_one


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (GOOD.replace("[event", "[None and event"), "The textualizer 'shouting' breaks its contract: en: "),
        (GOOD.replace('["kind"]', '["kin"]'), "fails on 18 events of 3 users: KeyError: 'kin'"),
        (GOOD.replace('[f"{len(events)} events"]', '"many events"'), "Return a list of phrases"),
        (GOOD.replace("@segadmin.hookimpl", ""), "mine.py registers no textualizer, backbone, engine, modality"),
    ],
)
def test_check_reports_a_problem_in_one_line(cli: Cli, tmp_path: Path, source: str, words: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    done = cli("plugins", "check", str(path), check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_backbone_is_checked_with_its_options(cli: Cli, settings: Settings) -> None:
    output = cli("plugins", "check", "tabular", "--option", "min_users=3").stdout
    assert "The backbone 'tabular' keeps its contract. A fit on sample users reports: {" in output
    assert not settings.root.exists()
    assert (
        "has no option 'min_user'" in cli("plugins", "check", "tabular", "--option", "min_user=3", check=False).stderr
    )


ENGINE = """
import segadmin
from segadmin_plugins.engines.plain import Plain

class Mine(Plain):
    name = "mine"

@segadmin.hookimpl
def register_engines():
    return [Mine]
"""


def test_an_engine_is_checked(cli: Cli, tmp_path: Path) -> None:
    output = cli("plugins", "check", "torch").stdout
    assert "The engine 'torch' keeps its contract. A small BERT on the CPU:\n  float32: logits within " in output
    path = tmp_path / "mine.py"
    path.write_text(ENGINE)
    assert "The engine 'mine' keeps its contract." in cli("plugins", "check", str(path)).stdout
    path.write_text(ENGINE.replace('"mine"', '"mine"\n    def tokens_at_once(self, text):\n        return 0'))
    done = cli("plugins", "check", str(path), check=False)
    assert done.stderr == (
        "Error: The engine 'mine' breaks its contract: tokens_at_once() must be at least 1, got 0.\n"
    )


def test_a_modality_is_checked_with_its_options(cli: Cli) -> None:
    output = cli("plugins", "check", "visual-words", "--option", "parts=1").stdout
    assert "The modality 'visual-words' keeps its contract. A sample item has the words: " in output
    assert "codes" in cli("plugins", "show", "modality", "visual-words").stdout


@pytest.mark.parametrize("name", ["My Shop", "../up", "", "1st"])
def test_an_invalid_package_name_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    done = cli("plugins", "new", name, "--folder", str(tmp_path / "new"), check=False)
    assert done.returncode == 1
    assert "Use a-z, 0-9 and -" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_file_that_cannot_be_imported_is_listed_and_others_work(cli: Cli, tmp_path: Path) -> None:
    broken, events = tmp_path / "broken.py", tmp_path / "events.csv"
    broken.write_text("import nosuchmodule\n")
    events.write_text("user,kind,item,at\nu1,view,a,2024-03-01\n")
    line = (
        f"The plugin file {broken} is not loaded: it cannot be imported: ModuleNotFoundError: No module named "
        "'nosuchmodule' (broken.py, line 1). Correct it, or take it out of SEGADMIN_PLUGIN_FILES."
    )
    listed = cli("plugins", "list", SEGADMIN_PLUGIN_FILES=str(broken))
    assert listed.stderr == f"{line}\n"
    assert "timeline" in listed.stdout
    previewed = cli("data", "preview", str(events), SEGADMIN_PLUGIN_FILES=str(broken))
    assert "1 of the first 1 row can be used" in previewed.stdout
    assert previewed.stderr == ""
    missing = cli("plugins", "show", "textualizer", "shouting", check=False, SEGADMIN_PLUGIN_FILES=str(broken))
    assert missing.returncode == 1
    assert missing.stderr.startswith("Error: There is no textualizer 'shouting'.")
    assert line in missing.stderr
    assert cli("plugins", "check", str(broken), check=False).stderr == f"Error: {line}\n"
    slip = cli("--plugin-file", "nowhere.py", "plugins", "list", check=False)
    assert slip.returncode == 2
    assert "'nowhere.py' does not exist" in slip.stderr


def test_an_installed_plugin_that_ends_the_process_is_named(cli: Cli, tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text("user,kind,item,at\nu1,view,a,2024-03-01\n")
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(tmp_path)]))
    info = tmp_path / "shopplug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shopplug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[segadmin]\nshopplug = shopplug\n")
    (tmp_path / "shopplug.py").write_text("import sys\nsys.exit(0)\n")
    assert "1 of 1 row kept" in cli("data", "import", "events", str(events), PYTHONPATH=path).stdout
    done = cli("plugins", "list", PYTHONPATH=path)
    assert "The plugin shopplug 1.0 is not loaded: it cannot be imported: SystemExit: 0 (shopplug.py" in done.stderr
    (tmp_path / "shopplug.py").write_text("raise KeyboardInterrupt\n")
    interrupted = cli("plugins", "list", check=False, PYTHONPATH=path)
    assert interrupted.returncode == 130
    assert interrupted.stderr.startswith("Interrupted. The plugin shopplug 1.0 failed in <module>: KeyboardInterrupt")


LABELER = """
import segadmin

class Odd(segadmin.Labeler):
    name = "odd"

    def label(self, events):
        BODY

@segadmin.hookimpl
def register_labelers():
    return [Odd]

def helper():
    raise RuntimeError("no")
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {}['x']", "The plugin odd.py failed in label: KeyError: 'x' (odd.py, line 8)."),
        ("raise SystemExit(7)", "The plugin odd.py failed in label: SystemExit: 7 (odd.py, line 8)."),
        ("exit(0)", "The plugin odd.py failed in label: SystemExit: 0 (odd.py, line 8)."),
        ("raise BaseException('1\\n2')", "The plugin odd.py failed in label: BaseException: 1 2 (odd.py, line 8)."),
        ("helper()", "The plugin odd.py failed in label: RuntimeError: no (odd.py, line 15)."),
        ("return None", "The labeler 'odd' returned NoneType from label(), not Labelled with a DataFrame."),
        (
            "import polars; return segadmin.Labelled(polars.DataFrame({'user_key': [1]}), ('a',), {})",
            "The labeler 'odd' returned no column segment, observed_from, as_of, outcome_until, but ['user_key'].",
        ),
    ],
)
def test_a_plugin_failure_is_one_line_that_names_the_plugin(cli: Cli, tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "odd.py").write_text(LABELER.replace("BODY", body))
    (tmp_path / "events.csv").write_text("user,kind,item,at\nu1,view,a,2024-03-01\n")
    cli("data", "import", "events", str(tmp_path / "events.csv"))
    words = ("--plugin-file", str(tmp_path / "odd.py"), "data", "label", "mine", "--labeler", "odd")
    done = cli(*words, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: {message}\n"
