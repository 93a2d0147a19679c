"""Resolves a backbone's name: a registered backbone, or any model of Hugging Face."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segadmin.contracts.plugins import Plugins


def resolve_backbone(plugins: Plugins, name: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the registered backbone that ``name`` refers to, and its options.

    A name that is not registered is a model's id or folder, for the ``hf`` backbone, unless it is so similar to a
    registered name that it must be a typing error.

    Raises:
        PluginNotFound: a typing error, with the registered name.
    """
    known = plugins.names("backbone")
    if name not in known and name not in plugins.aliases["backbone"]:
        slip = "/" not in name and not Path(name).exists() and difflib.get_close_matches(name, known, 1, cutoff=0.8)
        if not slip:
            # A folder is meant from here; the worker runs elsewhere.
            model = str(Path(name).resolve()) if Path(name).is_dir() else name
            return "hf", {"model": model, **options}
    return plugins.find("backbone", name).name, dict(options)
