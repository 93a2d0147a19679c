"""Commands that messages suggest: with the ``--home`` that was given, so that they can be copied as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

#: The pattern of a suggested command, and what it becomes; ``None``: as it is written.
_replacement: tuple[re.Pattern[str], str] | None = None


def remember_home(home: Path, commands: Iterable[str]) -> None:
    """Suggest ``commands`` with ``--home`` from now on."""
    global _replacement  # noqa: PLW0603  (a process runs one command)
    names = "|".join(map(re.escape, commands))
    _replacement = re.compile(rf"\bsegadmin (?=(?:{names})\b)"), f"segadmin --home {shlex.quote(str(home))} "


def with_home(text: str) -> str:
    """Return ``text`` with the home in the commands that it suggests."""
    if _replacement is None:
        return text
    pattern, command = _replacement
    return pattern.sub(lambda _: command, text)
