"""The reference names every hook with its exact arguments, and the example of the tutorial works."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from segadmin.contracts import hookspecs
from segadmin.contracts.plugins import load_plugins
from segadmin.settings import Settings
from segadmin.testing import check_textualizer
from tests.servers import ROOT

HOOKS = ROOT / "docs" / "reference" / "hooks.md"
TUTORIAL = ROOT / "docs" / "tutorials" / "textualizer-plugin.md"


def test_every_hook_is_documented_with_its_arguments() -> None:
    hooks = {
        f"{name}({', '.join(inspect.signature(hook).parameters)})"
        for name, hook in vars(hookspecs).items()
        if inspect.isfunction(hook)
    }
    assert set(re.findall(r"^\| `([a-z_]+\([a-z, ]*\))` \|", HOOKS.read_text(), flags=re.MULTILINE)) == hooks


def test_the_first_example_works_as_it_stands(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "shouting.py"
    [source] = re.findall(r"```python\n(# shouting\.py\n.*?)```", TUTORIAL.read_text(), flags=re.DOTALL)
    path.write_text(source)
    plugins = load_plugins(settings.model_copy(update={"plugin_files": (path,)}))
    check_textualizer(plugins.make("textualizer", "shouting"))
