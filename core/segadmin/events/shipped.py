"""The mapping files that are shipped with segadmin, for common layouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segadmin.errors import ConfigurationError, did_you_mean

_FOLDER = Path(__file__).with_name("mappings")
#: Optional prefix of a name, which excludes a file of that name.
_PREFIX = "shipped:"


@dataclass(frozen=True)
class Shipped:
    """A mapping file that is shipped with segadmin."""

    name: str

    @property
    def path(self) -> Path:
        """The path of the file."""
        return _FOLDER / f"{self.name}.toml"

    @property
    def text(self) -> str:
        """The content of the file."""
        return self.path.read_text(encoding="utf-8")

    @property
    def title(self) -> str:
        """The file's first line, which describes it."""
        return self.text.partition("\n")[0].removeprefix("# ").rstrip(".")


def shipped_mappings() -> list[Shipped]:
    """Return all shipped mappings, sorted by name."""
    return [Shipped(name) for name in sorted(path.stem for path in _FOLDER.glob("*.toml"))]


def shipped_mapping(name: str) -> Shipped:
    """Return the shipped mapping of that name.

    Raises:
        ConfigurationError: there is none.
    """
    names = [mapping.name for mapping in shipped_mappings()]
    name = name.removeprefix(_PREFIX)
    if name not in names:
        raise ConfigurationError(
            f"There is no shipped mapping {name!r}.{did_you_mean(name, names)} See: segadmin data mappings"
        )
    return Shipped(name)


def mapping_file(path: Path) -> Path:
    """Return ``path``, or the shipped mapping of that name if there is no such file.

    Raises:
        ConfigurationError: neither exists.
    """
    return shipped_mapping(str(path)).path if is_name(path) else path


def is_name(path: Path) -> bool:
    """Return whether ``path`` is the name of a mapping: there is no such file, and it does not look like one."""
    name = str(path)
    return not path.exists() and (name.startswith(_PREFIX) or (path.name == name and not path.suffix))
