"""Types of options that hold several values: lists and tables in TOML and JSON, short strings on a command line.

Model versions store their options as they were given, so strings are accepted wherever lists and tables are.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from segadmin.errors import ConfigurationError


def _names(value: Any) -> Any:
    """Return ``tabular,linear`` as a list; other values unchanged."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _table(option: Any, info: ValidationInfo) -> Any:
    """Return ``rank=4,alpha=8`` as a dictionary; other values unchanged.

    Raises:
        ConfigurationError: a part has no ``=``; the message names the option.
    """
    if not isinstance(option, str):
        return option
    table = {}
    for part in filter(None, (part.strip() for part in option.split(","))):
        key, sign, text = part.partition("=")
        if not sign or not key.strip():
            name = info.field_name
            raise ConfigurationError(f"{name}={option!r}: {part!r} is not key=value. Write it as rank=4,alpha=8.")
        table[key.strip()] = text.strip()
    return table


Numbers = Annotated[tuple[float, ...], BeforeValidator(_names)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Table = Annotated[dict[str, Any], BeforeValidator(_table)]
