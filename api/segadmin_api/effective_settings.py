"""The settings of this process: the value of each, and where it comes from; secrets are masked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum

from segadmin.settings import Settings, shown


class Source(StrEnum):
    """Where the value of a setting comes from."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"  #: a variable of the process
    PROGRAM = "program"  #: the command or the program that started the process


@dataclass(frozen=True)
class EffectiveSetting:
    """A setting, and the value that this process uses."""

    name: str
    variable: str
    value: str  #: as text; ``***``: a secret that is set
    source: Source
    description: str


def effective_settings(settings: Settings) -> list[EffectiveSetting]:
    """Return all settings, in the order of the reference."""
    variables = {name.upper() for name in os.environ}
    return [
        EffectiveSetting(
            name,
            f"SEGADMIN_{name.upper()}",
            _value(settings, name),
            _source(settings, name, variables),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _value(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if isinstance(value, tuple | frozenset):
        value = ", ".join(sorted(map(str, value)))
    value = "" if value is None else value
    return shown(name, value).partition("=")[2].strip("'\"")


def _source(settings: Settings, name: str, variables: set[str]) -> Source:
    if name not in settings.model_fields_set:
        return Source.DEFAULT
    return Source.ENVIRONMENT if f"SEGADMIN_{name.upper()}" in variables else Source.PROGRAM
