"""How the value of a plugin's option is written on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def option_text(value: Any) -> str:
    """Return ``tabular,linear`` for a list, ``rank=4,alpha=8`` for a table, and anything else as it is printed."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={option_text(inner)}" for key, inner in value.items())
    return ",".join(map(option_text, value)) if isinstance(value, list | tuple) else str(value)
