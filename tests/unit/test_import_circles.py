"""No import circles: a module can be read, tested and moved without those that use it.

Imports inside functions count, since they only hide a circle; imports for type checkers do not.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest


def circles(package: str) -> list[str]:
    """Return an import circle of each package that has one among its children: modules, or packages as wholes."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    cycles = []
    for parent in sorted(graph.modules):
        children = graph.find_children(parent)
        imports = {child: imported_siblings(graph, child, children) for child in children}
        try:
            TopologicalSorter(imports).prepare()
        except CycleError as error:
            cycles.append(" → ".join(reversed(error.args[1])))
    return cycles


def imported_siblings(graph: grimp.ImportGraph, module: str, siblings: set[str]) -> set[str]:
    """Return the siblings that ``module``, or a module inside it, imports something of."""
    inside = {module} | graph.find_descendants(module)
    imported = {name for member in inside for name in graph.find_modules_directly_imported_by(member)} - inside
    return {sibling for sibling in siblings for name in imported if f"{name}.".startswith(f"{sibling}.")}


@pytest.mark.parametrize("package", ["segadmin", "segadmin_plugins", "segadmin_worker", "segadmin_api"])
def test_no_circle_between_modules_or_packages(package: str) -> None:
    assert circles(package) == []


def test_a_circle_between_packages_that_functions_hide_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "circular/__init__.py": "",
        "circular/plain.py": "from circular.events import reading",
        "circular/events/__init__.py": "",
        "circular/events/reading.py": "def read():\n    from circular.text.writing import write\n",
        "circular/text/__init__.py": "",
        "circular/text/writing.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import circular.plain\n",
        "circular/text/naming.py": "import circular.events.names",
        "circular/events/names.py": "",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    (circle,) = circles("circular")
    assert set(circle.split(" → ")) == {"circular.events", "circular.text"}
