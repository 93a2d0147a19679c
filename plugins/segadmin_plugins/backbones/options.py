"""Options inside an option, such as ``tuner_options=rank=4,alpha=8``."""

from __future__ import annotations

from segadmin.errors import ConfigurationError


def pairs(name: str, text: str) -> dict[str, str]:
    """Return ``key=value,key=value`` as a dictionary.

    Raises:
        ConfigurationError: a part has no ``=``; naming the option ``name``.
    """
    found = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        key, sign, value = part.partition("=")
        if not sign or not key.strip():
            raise ConfigurationError(f"{name}={text!r}: {part!r} is not key=value. Write it as rank=4,alpha=8.")
        found[key.strip()] = value.strip()
    return found
