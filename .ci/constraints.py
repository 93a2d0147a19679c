"""Print ``constraints.txt``: the installed version of everything that segadmin's extras need, and nothing else."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.metadata import Distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAD = "# The versions that the tests ran with; made by `make constraints`."
TORCH = "# One pin for both: a GPU node gets this release's CUDA build, a machine without a GPU may bring a CPU build."


def closure(root: Distribution, extras: frozenset[str]) -> dict[str, Distribution]:
    """Return all distributions that ``root`` with ``extras`` needs, by normalized name.

    Args:
        root: segadmin, as it is installed or as a wheel describes it.
        extras: such as ``worker`` and ``web``.
    """
    own = canonicalize_name(root.name)
    found: dict[str, Distribution] = {own: root}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(own, extras)]
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.setdefault(name, root if name == own else importlib.metadata.distribution(name))
        for line in found[name].requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                todo.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    del found[own]
    return found


def main() -> None:
    """Print the file."""
    lines = [HEAD, TORCH]
    needed = closure(importlib.metadata.distribution("segadmin"), frozenset({"dev"}))
    for name, distribution in sorted(needed.items()):
        lines.append(f"{name}=={distribution.version.partition('+')[0]}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
