from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement

import segadmin
from segadmin_api.cli import COMMANDS, app
from tests.servers import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
#: Code, tests and configuration that name pages.
SOURCES = sorted(
    path
    for pattern in ("*/segadmin*/**/*.py", "bench/**/*.py", "tests/**/*.py", "Makefile", "pyproject.toml", "Dockerfile")
    for path in ROOT.glob(pattern)
)
GENERATED = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]


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


def test_the_python_reference_has_every_public_name(generated: Path) -> None:
    page = (generated / "reference/python.md").read_text()
    assert sorted(re.findall(r"^### (\w+)$", page, re.M)) == sorted(segadmin.__all__)
    assert "| `mask` | `float` | `0.15` | " in page  # an attribute with the comment on its line
    assert re.search(r"\| `freezes_base` \| `bool` \| `False` \| \w+", page)  # and one with the comment above
    assert "#### Classifier.predict" in page


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    wanted = {Requirement(line).name for line in listed} - {"segadmin"}
    page = (ROOT / "docs" / "reference" / "dependencies.md").read_text()
    reasons = dict(re.findall(r"^\| ([\w-]+) \| (.+) \|$", page, re.M))
    assert set(reasons) - {"package"} == wanted


def test_the_architecture_page_lists_the_layers_of_core_in_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("exhaustive")]
    packages = {path.parent.name for path in (ROOT / "core" / "segadmin").glob("*/__init__.py")}
    wanted = [name for layer in layers for name in layer.split(" | ") if name in packages]
    page = (ROOT / "docs" / "concepts" / "architecture.md").read_text()
    section = page[page.index("## Inside `core/segadmin`") : page.index("## Where does a new thing go?")]
    assert re.findall(r"`(\w+)/`", "\n".join(re.findall(r"^\| (.+?) \|", section, re.M))) == wanted


@pytest.mark.parametrize("page", PAGES, ids=_names)
def test_links_and_anchors_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", _without_code(page.read_text())):
        if target.startswith(("http:", "https:")):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        assert not anchor or anchor in _anchors(path), f"{target}#{anchor}"


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    reached, waiting = set[Path](), [index]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", _without_code(page.read_text()))
            waiting += [(page.parent / target).resolve() for target in targets]
    assert set((ROOT / "docs").rglob("*.md")) <= reached


def test_pages_that_code_names_exist() -> None:
    named = {(source, name) for source in SOURCES for name in re.findall(r"\bdocs/[\w/.-]+\.md\b", source.read_text())}
    assert {name for _, name in named} >= {"docs/reference/quality.md"}
    assert not [(_names(source), name) for source, name in named if not (ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("POST /v1/events", "post-v1events"),
        ("`segadmin data import`", "segadmin-data-import"),
        ("中文简介", "中文简介"),
    ],
)
def test_anchors_are_those_of_github(tmp_path: Path, heading: str, anchor: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# {heading}\n\n```bash\n# no heading\n```\n\n## {heading}\n")
    assert _anchors(page) == {anchor, f"{anchor}-1"}


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


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def _anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    counts: Counter[str] = Counter()
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.M):
        anchor = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{counts[anchor]}" if counts[anchor] else anchor)
        counts[anchor] += 1
    return anchors


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
        _, subcommand, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        _parse(subcommand, rest, context)
