"""Commands that messages suggest: with the ``--home`` or ``--server`` that was given, to be copied as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from segadmin.urls import mask_url

#: The pattern of a suggested command, and what it becomes; ``None``: as it is written.
_replacement: tuple[re.Pattern[str], str] | None = None
#: What messages say before a command that works only there, such as the first key of somebody who has none.
_THERE = "on the server: "


def remember_home(home: Path, commands: Iterable[str]) -> None:
    """Suggest ``commands`` with ``--home`` from now on."""
    _remember(["--home", str(home)], commands)


def remember_server(server: str, commands: Iterable[str], local: Iterable[str]) -> None:
    """Suggest ``commands`` with ``--server`` from now on, without its key; but not ``local`` ones, such as ``db``."""
    _remember(["--server", mask_url(server)], commands, local)


def _remember(options: list[str], commands: Iterable[str], local: Iterable[str] = ()) -> None:
    global _replacement  # noqa: PLW0603  (a process runs one command)
    names, others = ("|".join(map(re.escape, words)) for words in (commands, local))
    not_local = rf"(?!(?:{others})\b)" if others else ""
    pattern = rf"(?<!{_THERE})\bsegadmin (?=(?:{names})\b){not_local}"
    _replacement = re.compile(pattern), f"{shlex.join(['segadmin', *options])} "


def with_options(text: str) -> str:
    """Return ``text`` with the home or the server in the commands that it suggests."""
    if _replacement is None:
        return text
    pattern, command = _replacement
    return pattern.sub(lambda _: command, text)
