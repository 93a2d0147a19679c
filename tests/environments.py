"""Virtual environments that hold a built wheel and exactly what one set of its extras needs.

Nothing is downloaded: the distributions are those that the tests run with, one link a file. What is not in the closure
of the wheel's requirements cannot be imported, and pip's own resolver checks that nothing is missing.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from tests.servers import ROOT


def build_wheel(folder: Path) -> Path:
    """Build the wheel as a release would be, into ``folder``, and return its path."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Environment:
    """A virtual environment with segadmin installed from a wheel."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def run(
        self, *words: str, check: bool = True, timeout: float = 240, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run its ``segadmin`` as a user would: from another folder, without this checkout on any path."""
        done = subprocess.run(  # noqa: PLW1510
            [str(self.folder / "bin" / "segadmin"), *words],
            capture_output=True,
            text=True,
            env=_environment() | {"COLUMNS": "160", **variables},
            cwd=self.folder,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"segadmin {' '.join(words)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def can_import(self, module: str) -> bool:
        """Return whether ``module`` is there."""
        command = [str(self.python), "-c", f"import importlib.util as u; assert u.find_spec({module!r})"]
        return subprocess.run(command, capture_output=True, env=_environment(), cwd=self.folder).returncode == 0  # noqa: PLW1510


def create(folder: Path, wheel: Path, extras: frozenset[str]) -> Environment:
    """Make the environment that ``pip install 'segadmin[extras]'`` would make, from what is installed here.

    Raises:
        subprocess.CalledProcessError: pip finds a requirement that is not met.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    made = Environment(folder)
    _pip(made, "--no-deps", str(wheel))
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    [metadata] = site.glob("segadmin-*.dist-info")
    closure = runpy.run_path(str(ROOT / ".ci" / "constraints.py"))["closure"]
    for distribution in closure(Distribution.at(metadata), extras).values():
        _link(distribution, site)
    _pip(made, f"segadmin[{','.join(sorted(extras))}]")
    return made


def _pip(environment: Environment, *words: str) -> None:
    """Install into ``environment`` by the pip that is installed here, without any index."""
    command = [sys.executable, "-m", "pip", "--python", str(environment.python), "install", "-q", "--no-index"]
    subprocess.run([*command, *words], check=True, env=_environment() | {"PIP_FIND_LINKS": ""})


def _link(distribution: Distribution, site: Path) -> None:
    """Link each file of ``distribution`` into ``site``; scripts stay behind, as they start another interpreter."""
    for file in distribution.files or ():
        if ".." in file.parts:
            continue
        link = site / file
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(distribution.locate_file(file))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
