"""Mappings that were saved under a name, and mappings as text."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import tomlkit
from sqlmodel import Session, col, select

from segadmin.errors import ConfigurationError, MappingNotFound, NameTaken, did_you_mean
from segadmin.events.mapping import Mapping
from segadmin.events.shipped import is_name, shipped_mapping, shipped_mappings
from segadmin.names import check_name
from segadmin.settings import Settings
from segadmin.storage.audit import entry
from segadmin.storage.database import now, reading, transaction
from segadmin.storage.records import SavedMapping
from segadmin.urls import mask_all, mask_secrets


def mapping_text(mapping: Mapping) -> str:
    """Return a mapping as TOML, without what is the default anyway."""
    values: dict[str, Any] = mapping.model_dump(mode="json", exclude_defaults=True, exclude={"fallbacks"})
    columns = values.get("columns", {})
    for name, others in mapping.fallbacks.items():
        columns[name] = [columns[name], *others]
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    return tomlkit.dumps({name: value for name, value in values.items() if name not in tables} | tables)


def parse_mapping(text: str) -> Mapping:
    """Return the mapping that somebody wrote as TOML.

    Raises:
        ConfigurationError: it is not TOML, or has an unknown entry.
    """
    try:
        return Mapping.of_text(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"The mapping is not TOML: {error}.") from None


def save_mapping(settings: Settings, name: str, mapping: Mapping, *, replace: bool = False) -> SavedMapping:
    """Save a mapping under a name.

    Raises:
        ConfigurationError: the name cannot be used, or the mapping holds a password.
        NameTaken: there is a mapping of this name, and it is not to be replaced.
    """
    check_name("mapping", name)
    if name in {shipped.name for shipped in shipped_mappings()}:
        raise NameTaken(f"A mapping {name!r} comes with segadmin. Choose another name.")
    if Path(name).name != name or Path(name).suffix:
        raise ConfigurationError(f"The name of a mapping, {name!r}, has a slash or a dot, as files do. Leave it out.")
    text = mapping_text(mapping)
    if mask_all(mapping.source.options) != mapping.source.options or mask_secrets(text) != text:
        raise ConfigurationError(
            "The mapping holds a password, which is not stored. Write $NAME of a variable instead."
        )
    with transaction(settings) as session:
        row = session.get(SavedMapping, name)
        if row is not None and not replace:
            raise NameTaken(f"There is a mapping {name!r} already. Choose another name, or replace it.")
        before = None if row is None else _digest(row.text)
        row = row or SavedMapping(name=name, text="")
        row.text, row.updated_at = text, now(session)
        session.add(row)
        session.add(entry("mappings.save", f"mapping {name}", before=before, after=_digest(row.text)))
    return row


def remove_mapping(settings: Settings, name: str) -> None:
    """Remove a saved mapping.

    Raises:
        MappingNotFound: there is none of this name.
    """
    with transaction(settings) as session:
        row = _saved(session, name)
        session.delete(row)
        session.add(entry("mappings.remove", f"mapping {name}", before=_digest(row.text), after=None))


def list_mappings(settings: Settings) -> list[SavedMapping]:
    """Return the saved mappings, by name."""
    with reading(settings) as session:
        return list(session.exec(select(SavedMapping).order_by(SavedMapping.name)).all())


def named_mapping(settings: Settings, name: str) -> str:
    """Return the text of the mapping called ``name``: a saved one, or one that comes with segadmin.

    Raises:
        MappingNotFound: there is none.
    """
    with reading(settings) as session:
        row = session.get(SavedMapping, name)
        names = session.exec(select(SavedMapping.name)).all()
    if row is not None:
        return row.text
    shipped = [mapping.name for mapping in shipped_mappings()]
    if name.removeprefix("shipped:") in shipped:
        return shipped_mapping(name).text
    raise MappingNotFound(f"There is no mapping {name!r}.{did_you_mean(name, [*names, *shipped])}")


def read_mapping(settings: Settings, path: Path | None) -> Mapping:
    """Return the mapping in a file, or the saved or shipped one of that name; see :meth:`Mapping.read`."""
    if path is None or not is_name(path):
        return Mapping.read(path)
    with reading(settings) as session:
        row = session.get(SavedMapping, str(path))
    return Mapping.of_text(row.text) if row is not None else Mapping.read(path)


def _digest(text: str) -> str:
    """Return what the audit log says of a text, which may name a user: entries outlive an erasure."""
    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _saved(session: Session, name: str) -> SavedMapping:
    row = session.get(SavedMapping, name)
    if row is None:
        names = session.exec(select(SavedMapping.name).order_by(col(SavedMapping.name))).all()
        raise MappingNotFound(f"There is no saved mapping {name!r}.{did_you_mean(name, names)}")
    return row
