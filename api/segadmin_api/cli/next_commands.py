"""Commands that messages suggest: with the ``--home`` or ``--server`` that was given, to be copied as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from segadmin.urls import mask_url

#: What messages say before a command that works only there, such as the first key of somebody who has none.
_THERE = "on the server: "
#: Rewrites the suggested commands of a text; ``None``: they are shown as they are written.
_rewrite: Callable[[str], str] | None = None


def remember_home(home: Path, commands: Iterable[str]) -> None:
    """Suggest ``commands`` with ``--home`` from now on."""
    _remember(shlex.join(["segadmin", "--home", str(home)]), commands)


def remember_server(server: str | None, commands: Iterable[str], here: Iterable[str], there: Iterable[str]) -> None:
    """Suggest ``commands`` with ``--server``, without its key, from now on.

    Args:
        server: its URL; ``None`` if a variable names it, so that commands do not need to.
        commands: the names of the commands.
        here: those that work on this machine alone, such as ``demo``: they have no ``--server``.
        there: those that work on the server's machine alone, such as ``db``: messages say so.
    """
    options = [] if server is None else ["--server", mask_url(server)]
    _remember(shlex.join(["segadmin", *options]), commands, here, there)


def _remember(prefix: str, commands: Iterable[str], here: Iterable[str] = (), there: Iterable[str] = ()) -> None:
    global _rewrite  # noqa: PLW0603  (a process runs one command)
    every, local, remote = ("|".join(map(re.escape, words)) or "(?!)" for words in (commands, here, there))
    pattern = re.compile(  # a command between backticks is named, and not suggested
        rf"(?<!{_THERE})(?<!`)\bsegadmin (?:(?=(?P<there>(?:{remote})\b))|(?=(?:{every})\b)(?!(?:{local})\b))"
    )

    def rewrite(text: str) -> str:
        return pattern.sub(lambda match: f"{_THERE}segadmin " if match["there"] else f"{prefix} ", text)

    _rewrite = rewrite


def with_options(text: str) -> str:
    """Return ``text`` with the home or the server in the commands that it suggests."""
    return text if _rewrite is None else _rewrite(text)
