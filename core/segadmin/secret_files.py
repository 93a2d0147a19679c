"""Files that hold one secret each, such as the user-key secret of a home."""

from __future__ import annotations

import secrets
from pathlib import Path

from segadmin.errors import ConfigurationError
from segadmin.files import make_folder, open_plain, put_once


def create_secret_file(path: Path, umask: int) -> None:
    """Create ``path`` with a random secret, once even if processes race; an existing file stays unchanged.

    It is readable according to ``umask``, and only its owner may change it.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        make_folder(path.parent, umask)
        if not path.exists():
            put_once(path, secrets.token_urlsafe(24), umask | 0o022)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}. Set SEGADMIN_HOME to a folder of your own."
        ) from None


def read_secret_file(path: Path, fix: str) -> str:
    """Return the secret in ``path``; ``fix`` is what the message of an error advises.

    Raises:
        ConfigurationError: it does not exist, cannot be read, or is blank.
    """
    try:
        with open_plain(path) as file:  # a named pipe would keep every process waiting
            content = file.read().decode().strip()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}. {fix}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is not text. {fix}") from None
    if is_blank(content):
        raise ConfigurationError(f"{path} is empty. {fix}")
    return content


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character: spaces, NUL, or the byte-order mark of an empty file."""
    return not any(character.isprintable() and not character.isspace() for character in text)
