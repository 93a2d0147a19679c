"""The fraction of users held out for validation: one default, also for versions trained before it could be set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Fraction of the users; where the split is by user, as many again are the test users.
HELD_OUT = 0.15


def held_out_of(manifest: Mapping[str, Any]) -> float:
    """Return the fraction that a model version holds out, from its ``manifest``."""
    return float(manifest.get("held_out", HELD_OUT))
