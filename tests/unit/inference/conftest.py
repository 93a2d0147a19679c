"""A trained shop, for these tests."""

from __future__ import annotations

from tests.planted import shop, trained_home

__all__ = ["shop", "trained_home"]
