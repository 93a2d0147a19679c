"""Errors of plugins' code: described in a line, and traced to the plugin that raised them."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from segadmin.errors import PluginError
from segadmin.urls import mask_secrets

#: Code that only passes a plugin's error on.
_OWN = re.compile(r"<frozen .*|.*[/\\](?:segadmin|pluggy|importlib)[/\\]\w+\.py$")
#: File or folder of a plugin's code → what the plugin is called; of all plugins that this process loaded.
_homes: dict[str, str] = {}


def note_home(home: str, plugin: str) -> None:
    """Record the file or folder of a plugin's code, and the name of the plugin in messages."""
    _homes[home] = plugin


def blame(error: BaseException) -> PluginError | None:
    """Return what to tell of an error that the code of a plugin raised or let pass, or ``None`` if none did."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        for home, origin in _homes.items():
            if Path(frame.filename).is_relative_to(home):
                called = next(each for each in frames if Path(each.filename).is_relative_to(home))  # the hook or method
                return PluginError(f"The plugin {origin} failed in {called.name}: {describe(error, home)}.")
    return None


def describe(error: BaseException, home: str = "") -> str:
    """Return an error of somebody else's code in one line: its type, its message and the line that let it pass.

    Args:
        error: what was raised.
        home: file or folder of the code whose line is wanted, if any of it was running; default: any plugin's, else
            any but ours.
    """
    if isinstance(error, SyntaxError) and error.filename:
        message, place = error.msg, f"{Path(error.filename).name}, line {error.lineno}"
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _OWN.match(frame.filename)]
        homes = [home] if home else list(_homes)
        inside = [
            frame for frame in frames if any(Path(frame.filename).is_relative_to(folder) for folder in homes)
        ] or frames
        message = str(error)
        place = f"{Path(inside[-1].filename).name}, line {inside[-1].lineno}" if inside else ""
    words = f"{type(error).__name__}: {' '.join(message.split())}".removesuffix(": ")
    return mask_secrets(f"{words} ({place})" if place else words)
