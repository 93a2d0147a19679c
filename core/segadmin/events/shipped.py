"""The mapping files that come with segadmin, for layouts that many shops export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segadmin.errors import ConfigurationError, did_you_mean

_FOLDER = Path(__file__).with_name("mappings")
#: What may stand before a name, so that no file of that name is meant.
_PREFIX = "shipped:"


@dataclass(frozen=True)
class Shipped:
    """A mapping file that comes with segadmin."""

    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return _FOLDER / f"{self.name}.toml"

    @property
    def text(self) -> str:
        """The file as it is."""
        return self.path.read_text(encoding="utf-8")

    @property
    def title(self) -> str:
        """What it is for: the file's first line."""
        return self.text.partition("\n")[0].removeprefix("# ").rstrip(".")


def shipped_mappings() -> list[Shipped]:
    """Return all of them, by name."""
    return [Shipped(name) for name in sorted(path.stem for path in _FOLDER.glob("*.toml"))]


def shipped_mapping(name: str) -> Shipped:
    """Return the one of that name.

    Raises:
        ConfigurationError: there is none.
    """
    known = [mapping.name for mapping in shipped_mappings()]
    name = name.removeprefix(_PREFIX)
    if name not in known:
        raise ConfigurationError(
            f"There is no shipped mapping {name!r}.{did_you_mean(name, known)} See: segadmin data mappings"
        )
    return Shipped(name)


def mapping_file(path: Path) -> Path:
    """Return the file that ``path`` means: itself, or the shipped mapping of that name where there is no such file.

    Raises:
        ConfigurationError: neither is there.
    """
    name = str(path)
    if path.exists() or not (name.startswith(_PREFIX) or (path.name == name and not path.suffix)):
        return path
    return shipped_mapping(name).path
