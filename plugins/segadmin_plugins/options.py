"""Types of options that hold several values: lists and tables in TOML and JSON, short strings on a command line.

Model versions keep their options as they were given, so the strings stay readable wherever a list or table is.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from segadmin.errors import ConfigurationError


def _names(given: Any) -> Any:
    """Return ``tabular,linear`` as a list; what is no string as it is."""
    return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given


def _table(given: Any, info: ValidationInfo) -> Any:
    """Return ``rank=4,alpha=8`` as a dictionary; what is no string as it is.

    Raises:
        ConfigurationError: a part has no ``=``; naming the option.
    """
    if not isinstance(given, str):
        return given
    table = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        key, sign, value = part.partition("=")
        if not sign or not key.strip():
            name = info.field_name
            raise ConfigurationError(f"{name}={given!r}: {part!r} is not key=value. Write it as rank=4,alpha=8.")
        table[key.strip()] = value.strip()
    return table


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Table = Annotated[dict[str, Any], BeforeValidator(_table)]
