"""The example notebook runs in a real kernel, and its outputs in the repository are of this release."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from segadmin.settings import Settings
from tests.planted import Run, more_weeks, planted_users
from tests.servers import ROOT

NOTEBOOK = ROOT / "examples" / "segments.ipynb"
#: In a process of its own: its event loop and its sockets are none of pytest's.
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": sys.argv[3]}}).execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture
def executed(shop: Settings, tmp_path: Path) -> Any:
    more_weeks(shop, planted_users(shop), range(14, 15))
    Run(shop, "refresh", {"force": True}).all()
    out, folder = tmp_path / "out.ipynb", tmp_path / "cwd"
    folder.mkdir()
    environment = os.environ | {"SEGADMIN_HOME": f"{shop.home}", "JUPYTER_PLATFORM_DIRS": "1"}
    command = [sys.executable, "-c", RUN, f"{NOTEBOOK}", f"{out}", f"{folder}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return nbformat.read(out, as_version=4)


def _kinds(notebook: Any) -> list[list[str]]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [sorted({kind for output in cell.outputs for kind in output.get("data", {})}) for cell in cells]


def test_the_notebook_runs_and_shows_the_shop(executed: Any) -> None:
    committed = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(committed)
    assert _kinds(executed) == _kinds(committed), "its outputs are those of an older release: run it again"
    shown = "".join(
        output["data"].get("text/html", "") for cell in executed.cells for output in cell.get("outputs", [])
    )
    for words in ("Snapshot 2", "Snapshots 1 → 2", "Model 1", "<svg", "low", "mid", "high"):
        assert words in shown


def test_the_notebook_in_the_repository_is_small_and_names_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 60_000
    assert not re.findall(r"/(?:home|root|tmp|Users|work)/", text)
    assert '"output_type": "error"' not in text
    assert not re.findall(r"\b[0-9a-f]{16}\b", text), "no key of a user"
