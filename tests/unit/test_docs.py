from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

from segadmin_api.cli import COMMANDS, app
from tests.servers import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
GENERATED = ("cli.md", "settings.md")


def _names(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages that a process of its own makes: tests register kinds of jobs, which get commands."""
    folder = tmp_path_factory.mktemp("docs")
    subprocess.run([sys.executable, ROOT / "docs" / "generate.py", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.parametrize("name", GENERATED)
def test_pages_made_from_the_program_are_current(name: str, generated: Path) -> None:
    assert (ROOT / "docs" / name).read_text() == (generated / name).read_text(), "run: make docs"


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    wanted = {Requirement(one).name for one in listed} - {"segadmin"}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    reasons = dict(re.findall(r"^\| ([\w-]+) \| (.+) \|$", page, re.M))
    assert set(reasons) - {"package"} == wanted


@pytest.mark.parametrize("page", PAGES, ids=_names)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=_names)
def test_commands_exist(page: Path) -> None:
    for words in _commands(page.read_text()):
        try:
            _parse(typer.main.get_command(app), words)
        except typer.Exit:  # --help
            continue


def test_the_readme_shows_every_kind_of_command() -> None:
    text = (ROOT / "README.md").read_text()
    assert "segadmin enqueue retrain --backbone bert-base-chinese" in text
    for name in ("data", "enqueue", "jobs", "models", "snapshots", "schedule", "doctor", "up", "down"):
        assert name in COMMANDS
        assert f"segadmin {name}" in text


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each segadmin command in blocks of shell and in `backquotes`."""
    blocks = "".join(re.findall(r"^```(?:bash|console)\n(.*?)^```", text, re.M | re.S)).splitlines()
    inline = re.findall(r"`(segadmin [^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for line in [*blocks, *inline]:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] == ["segadmin"] and not {"[OPTIONS]", "COMMAND", "…"} & set(words):
            yield words[1:]


def _parse(command: Any, words: list[str], parent: Any = None) -> None:
    """Parse a command line as far as it goes, without running anything; names alone are enough."""
    if not words and hasattr(command, "resolve_command"):
        return
    if parent is not None and not words and command.params:
        return  # only mentioned: its arguments are not given
    context = command.make_context(command.name, list(words), parent=parent)
    if hasattr(command, "resolve_command"):
        _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        _parse(found, rest, context)
