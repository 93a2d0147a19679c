"""``segadmin plugins``, as an author sees it."""

from __future__ import annotations

import json
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
    assert [one["name"] for one in facts["plugins"]] == [
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
    assert {one["kind"] for one in facts["plugins"]} == {"textualizer"}
    assert all(one["from"].startswith("segadmin ") for one in facts["plugins"])
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


def test_a_broken_plugin_is_shown_with_its_mend_and_the_rest_goes_on(cli: Cli, broken: Path) -> None:
    done = cli("plugins", "list", PYTHONPATH=str(broken))
    assert "timeline" in done.stdout
    assert "The plugin segadmin-broken 1.0 cannot be loaded: ModuleNotFoundError" in done.stderr
    assert "SEGADMIN_PLUGINS_DISABLED=segadmin-broken" in done.stderr
    facts = json.loads(cli("plugins", "list", "--json", PYTHONPATH=str(broken)).stdout)
    assert len(facts["broken"]) == 1
    mended = cli("plugins", "list", PYTHONPATH=str(broken), SEGADMIN_PLUGINS_DISABLED="segadmin-broken")
    assert mended.stderr == ""


def test_a_plugins_options_and_what_it_is_for(cli: Cli) -> None:
    facts = json.loads(cli("plugins", "show", "textualizer", "timeline", "--json").stdout)
    assert facts["options"] == [
        {"option": "limit", "type": "int", "default": 32},
        {"option": "raw_user_ids", "type": "bool", "default": False},
    ]
    assert facts["doc"].startswith("A sentence an event, newest first.")
    shown = cli("plugins", "show", "backbone", "tiny").stdout
    assert "max_tokens" in shown
    assert "Did you mean 'mixed'?" in cli("plugins", "show", "textualizer", "mixd", check=False).stderr


def test_all_of_a_file_is_checked(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    said = cli("plugins", "check", str(path)).stdout
    assert "The textualizer 'shouting' keeps its contract. A sample user reads:\n  VIEW\n  CART\n" in said
    assert "The textualizer 'counting' keeps its contract. A sample user reads:\n  6 events\n" in said
    one = cli("--plugin-file", str(path), "plugins", "check", "counting").stdout
    assert "shouting" not in one


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (GOOD.replace("[event", "[None and event"), "The textualizer 'shouting' breaks its contract: en: "),
        (GOOD.replace('["kind"]', '["kin"]'), "fails on 18 events of 3 users: KeyError: 'kin'"),
        (GOOD.replace('[f"{len(events)} events"]', '"many events"'), "Return a list of phrases"),
        (GOOD.replace("@segadmin.hookimpl", ""), "mine.py registers no textualizer or backbone"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, tmp_path: Path, source: str, words: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    done = cli("plugins", "check", str(path), check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_backbone_is_checked_with_its_options(cli: Cli, settings: Settings) -> None:
    said = cli("plugins", "check", "tabular", "--option", "min_users=3").stdout
    assert "The backbone 'tabular' keeps its contract. A fit on sample users reports: {" in said
    assert not settings.root.exists()
    assert (
        "has no option 'min_user'" in cli("plugins", "check", "tabular", "--option", "min_user=3", check=False).stderr
    )


@pytest.mark.parametrize("name", ["My Shop", "../up", "", "1st"])
def test_a_name_that_cannot_be_a_packages_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    done = cli("plugins", "new", name, "--folder", str(tmp_path / "new"), check=False)
    assert done.returncode == 1
    assert "Use a-z, 0-9 and -" in done.stderr
    assert not (tmp_path / "new").exists()
