"""Reconstructs the command that the user entered, so that it can be repeated."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import typer

from segadmin.urls import mask_secrets

if TYPE_CHECKING:
    import click


def command_line(context: typer.Context, arguments: Sequence[str]) -> str:
    """Return the command of ``context`` with the options that were given, and ``arguments``."""
    return join_words([*_words(cast("click.Context", context)), *arguments])


def join_words(words: Iterable[str]) -> str:
    """Return a command of ``words`` for a shell, without secrets."""
    return shlex.join(map(mask_secrets, words))


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
