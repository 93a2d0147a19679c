"""Reconstructs the command that the user entered, so that it can be repeated."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    import click


def command_line(context: typer.Context, arguments: Sequence[str]) -> str:
    """Return the command of ``context`` with the options that were given, and ``arguments``."""
    return shlex.join([*_words(cast("click.Context", context)), *arguments])


def _words(context: click.Context) -> Iterator[str]:
    if context.parent is not None:
        yield from _words(context.parent)
    yield context.info_name or "segadmin"
    for option in context.command.params:
        name = option.name or ""
        source = context.get_parameter_source(name)
        if option.param_type_name != "option" or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params.get(name)
        for item in value if isinstance(value, list | tuple) else [value]:
            yield option.opts[0]
            if not getattr(option, "is_flag", False):
                yield str(item)
