"""A mapping in words: which column is read as which field, and what else differs from the defaults."""

from __future__ import annotations

from collections.abc import Mapping as Named
from typing import Any


def mapping_words(stored: Named[str, Any]) -> str:
    """Return the mapping of an import, such as ``item <- sku, or code; kinds: 购买 = purchase``; empty by default.

    Args:
        stored: as the options of a job have it.
    """
    from segadmin.errors import ConfigurationError
    from segadmin.events.mapping import Mapping

    try:
        chosen = Mapping.of(dict(stored)).model_dump(mode="json", exclude_defaults=True)
    except ConfigurationError:  # of another version of segadmin
        chosen = dict(stored)
    columns, fallbacks = chosen.pop("columns", {}), chosen.pop("fallbacks", {})
    fields = [f"{field} <- {', or '.join([column, *fallbacks.get(field, [])])}" for field, column in columns.items()]
    others = [f"{name}: {_words(value)}" for name, value in chosen.items()]
    return "; ".join([", ".join(fields), *others] if fields else others)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_words(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
