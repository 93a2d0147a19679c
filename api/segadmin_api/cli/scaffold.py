"""The package that ``segadmin plugins new`` writes."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from segadmin.errors import ConfigurationError

_PYPROJECT = Template("""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "segadmin-$name-textualizer"
version = "0.1.0"
description = "A textualizer for segadmin"
requires-python = ">=3.11"
dependencies = ["segadmin"]

[project.entry-points.segadmin]
$name = "$module"

[tool.hatch.build.targets.wheel]
only-include = ["$module.py"]
""")
_MODULE = Template('''\
"""The textualizer `$name`: describe its text here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

import segadmin


@dataclass(frozen=True)
class Textualizer(segadmin.Textualizer):
    """One phrase per event, newest first."""

    name: ClassVar[str] = "$name"
    version: ClassVar[str] = "1"  # increase it when the same events give different text
    limit: int = 32  # an option: --textualizer-option limit=10

    def phrases(self, events: pl.LazyFrame, context: segadmin.TextContext) -> pl.LazyFrame:
        """Return user_key, position (the lowest of a user is truncated last) and phrase."""
        order = pl.struct(-pl.col("at").cast(pl.Int64), "item", "kind")
        ranked = events.with_columns(position=order.rank("ordinal").over("user_key"))
        return ranked.filter(pl.col("position") <= self.limit).select(
            "user_key", "position", phrase=pl.format("{} {}", "kind", "item")
        )


@segadmin.hookimpl
def register_textualizers() -> list[type[segadmin.Textualizer]]:
    """Register the textualizer."""
    return [Textualizer]
''')
_TEST = Template("""\
from segadmin.testing import check_textualizer

from $module import Textualizer


def test_contract() -> None:
    check_textualizer(Textualizer())
""")


def write_package(name: str, folder: Path) -> Path:
    """Write the package of a textualizer called ``name`` under ``folder`` and return its path.

    Raises:
        ConfigurationError: the name is invalid, or the package exists already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ConfigurationError(f"{name!r} cannot be a textualizer's name. Use a-z, 0-9 and -, such as my-shop.")
    package = folder / f"segadmin-{name}-textualizer"
    if package.exists():
        raise ConfigurationError(f"{package} exists already. Choose another name or --folder.")
    module = f"segadmin_{name.replace('-', '_')}_textualizer"
    (package / "tests").mkdir(parents=True)
    names = {"name": name, "module": module}
    (package / "pyproject.toml").write_text(_PYPROJECT.substitute(names))
    (package / f"{module}.py").write_text(_MODULE.substitute(names))
    (package / "tests" / f"test_{module}.py").write_text(_TEST.substitute(names))
    return package
