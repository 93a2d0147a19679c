"""A plugin by a stranger: a package of its own, in an environment of its own, found and used by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from segadmin.settings import Settings
from tests.conftest import Cli
from tests.servers import ROOT

pytestmark = pytest.mark.install

EXAMPLE = ROOT / "examples" / "segadmin-emoji-textualizer"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that sees what is installed here, and has the example installed."""
    folder = tmp_path_factory.mktemp("stranger")
    venv.create(folder, with_pip=False)
    mine = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # addsitedir also follows the .pth file of an editable install.
    (mine / "here.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    inside = folder / "bin" / "python"
    install = [str(inside), "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", str(EXAMPLE)]
    subprocess.run(install, check=True, capture_output=True)
    return inside


@pytest.fixture
def segadmin(python: Path, settings: Settings) -> Iterator[Cli]:
    """Run the command line of that environment."""

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), "-m", "segadmin_api.cli", *words],
            capture_output=True,
            text=True,
            check=check,
            env={**os.environ, "COLUMNS": "160"},
        )

    yield run
    run("down", check=False)


def test_a_plugin_package_is_found_by_its_entry_point(segadmin: Cli, settings: Settings) -> None:
    listed = json.loads(segadmin("plugins", "list", "--json").stdout)
    ours = {"kind": "textualizer", "name": "emoji", "from": "segadmin-emoji-textualizer 0.1.0"}
    assert ours in listed["plugins"]
    assert listed["broken"] == []
    segadmin("data", "import", "completejourney", "--users", "60")
    segadmin("data", "label", "spend3")
    segadmin("up", "--detach", "--no-flower", "--no-web", "--cpu", "1")
    words = (
        "--textualizer",
        "emoji",
        "--textualizer-option",
        "days=60",
        "--backbone",
        "tfidf",
        "--baseline",
        "tabular",
        "--margin",
        "-1",
    )
    segadmin("enqueue", "retrain", *words, "--wait")
    [model] = json.loads(segadmin("models", "list", "--json").stdout)
    recipe = json.loads(segadmin("models", "show", "champion", "--json").stdout)["manifest"]["recipe"]
    assert model["textualizer"] == "emoji"
    assert recipe["distribution"] == "segadmin-emoji-textualizer 0.1.0"
    assert recipe["textualizer_options"]["days"] in {60, "60"}
    assert "🛒" in segadmin("users", "show", "1", "--text").stdout


def test_a_plugin_package_can_be_disabled(segadmin: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADMIN_PLUGINS_DISABLED", "segadmin-emoji-textualizer")
    done = segadmin("plugins", "check", "emoji", check=False)
    assert "There is no textualizer, backbone, engine or modality 'emoji'" in done.stderr


def test_the_examples_own_test_passes(python: Path) -> None:
    tests = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(EXAMPLE / "tests")]
    subprocess.run(tests, check=True, capture_output=True, cwd=EXAMPLE)


def test_what_plugins_new_writes_can_be_installed_and_checked(python: Path, segadmin: Cli, tmp_path: Path) -> None:
    segadmin("plugins", "new", "my-shop", "--folder", str(tmp_path))
    package = tmp_path / "segadmin-my-shop-textualizer"
    install = [str(python), "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", str(package)]
    subprocess.run(install, check=True, capture_output=True)
    assert "keeps its contract" in segadmin("plugins", "check", "my-shop").stdout
    assert "exists already" in segadmin("plugins", "new", "my-shop", "--folder", str(tmp_path), check=False).stderr
