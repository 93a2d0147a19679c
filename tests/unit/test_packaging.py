from __future__ import annotations

import importlib.metadata
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlmodel import select

from segadmin.events.shipped import shipped_mappings
from segadmin.settings import Settings
from segadmin.storage import database
from segadmin.storage.records import Job, LabelSet, Store
from tests.environments import build_wheel
from tests.servers import ROOT

HEAVY = {"torch", "transformers", "polars", "pyarrow", "sklearn", "lightgbm", "deltalake"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built as a release would be."""
    return zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel")))


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    roots = {name.split("/")[0] for name in wheel.namelist() if ".dist-info" not in name}
    assert roots == {"segadmin", "segadmin_plugins", "segadmin_worker", "segadmin_api"}


def test_the_wheel_holds_the_shipped_mappings(wheel: zipfile.ZipFile) -> None:
    wanted = {f"segadmin/events/mappings/{mapping.name}.toml" for mapping in shipped_mappings()}
    assert len(wanted) == 8
    assert wanted <= set(wheel.namelist())


def test_the_wheel_holds_the_templates_of_the_pages(wheel: zipfile.ZipFile) -> None:
    folder = ROOT / "api" / "segadmin_api" / "dashboard" / "templates"
    templates = {f"segadmin_api/dashboard/templates/{path.name}" for path in folder.iterdir()}
    assert "segadmin_api/dashboard/templates/base.html" in templates
    assert templates <= set(wheel.namelist())


def test_the_wheel_holds_types_migrations_and_the_licence(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"{package}/py.typed" for package in ("segadmin", "segadmin_plugins", "segadmin_worker")} <= names
    migrations = {f"segadmin/storage/migrations/versions/{path.name}" for path in _migrations()}
    assert migrations
    assert {"segadmin/storage/migrations/env.py", *migrations} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_holds_every_module(wheel: zipfile.ZipFile) -> None:
    modules = {
        str(path.relative_to(ROOT / room))
        for room in ("core", "plugins", "worker", "api")
        for path in (ROOT / room).rglob("*.py")
    }
    assert modules <= set(wheel.namelist())


def test_a_machine_that_only_enqueues_needs_no_torch(wheel: zipfile.ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    lines = wheel.read(metadata).decode().splitlines()
    base = {Requirement(line.removeprefix("Requires-Dist: ")).name for line in lines if _is_base(line)}
    assert "celery" in base
    assert not base & {"torch", "transformers", "lightgbm", "scikit-learn", "flower"}


@pytest.mark.parametrize(
    "words",
    ["--help", "enqueue --help", "enqueue retrain --help", "enqueue tune --print-config", "up --help", "status"],
)
def test_looking_at_the_command_line_imports_nothing_heavy(settings: Settings, words: str) -> None:
    assert _imported(words.split()) & HEAVY == set()


def test_enqueuing_imports_nothing_heavy(settings: Settings) -> None:
    with database.transaction(settings) as session:
        session.add(Store(buckets=4, key_fingerprint="0" * 16))
        session.add(LabelSet(name="value", labeler="import", segments=["low", "high"]))
    assert _imported(["enqueue", "retrain", "--backbone", "tabular", "--tracker", "tensorboard"]) & HEAVY == set()
    with database.transaction(settings) as session:
        assert session.exec(select(Job)).one().options["backbone"] == "tabular"


def test_every_extra_that_a_message_names_exists() -> None:
    named = set()
    for room in ("core", "plugins", "worker", "api"):
        for path in (ROOT / room).rglob("*.py"):
            named |= {part.split("]")[0] for part in path.read_text().split("segadmin[")[1:]}
    assert {name for name in named if "{" not in name} <= set(PROJECT["optional-dependencies"])


def test_constraints_pin_what_the_extras_need_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {Requirement(line).name for line in lines if line and not line.startswith("#")}
    closure = runpy.run_path(str(ROOT / ".ci" / "constraints.py"))["closure"]
    assert pinned == set(closure(importlib.metadata.distribution("segadmin"), frozenset({"dev"})))


def test_every_dependency_has_a_lower_bound_that_its_pin_keeps() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {(pin := Requirement(line)).name: pin for line in lines if line and not line.startswith("#")}
    listed = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    for requirement in map(Requirement, listed):
        if requirement.name != "segadmin":
            version = str(pins[canonicalize_name(requirement.name)].specifier).removeprefix("==")
            assert str(requirement.specifier).startswith(">="), requirement
            assert requirement.specifier.contains(version), requirement


def test_the_changelog_has_this_version() -> None:
    version = importlib.metadata.version("segadmin")
    assert version == PROJECT["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    "target", ["install", "demo", "test", "test-slow", "test-install", "lint", "bench", "docs", "wheel"]
)
def test_make_knows_its_targets(target: str) -> None:
    make = shutil.which("make")
    assert make
    shown = subprocess.run([make, "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout


def test_pre_commit_runs_what_make_lint_runs() -> None:
    import yaml

    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    for tool in ("ruff check", "ruff format", "mypy", "lint-imports"):
        assert any(entry.startswith(f".venv/bin/{tool}") for entry in entries)
        assert f"$(BIN)/{tool}" in (ROOT / "Makefile").read_text()


def _is_base(line: str) -> bool:
    return line.startswith("Requires-Dist: ") and "extra ==" not in line


def _migrations() -> list[Path]:
    return list((ROOT / "core" / "segadmin" / "storage" / "migrations" / "versions").glob("*.py"))


def _imported(words: list[str]) -> set[str]:
    """Return the top-level modules that a process has imported after running a command."""
    code = (
        "import sys\n"
        f"sys.argv = ['segadmin', *{words!r}]\n"
        "from segadmin_api.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as done:\n    assert done.code in (None, 0, 1), done.code\n"
        "print('modules:', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].removeprefix("modules: ").split())
