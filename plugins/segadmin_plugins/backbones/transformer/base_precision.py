"""The precision of the weights that a fit starts from."""

from __future__ import annotations

from segadmin_plugins.backbones.transformer.weights_lookup import LARGE
from segadmin_plugins.engines.precision import bf16_is_faster


def dtype_for_base(dtype: str, size: int, *, frozen: bool) -> str:
    """Return the precision for a base of ``size`` bytes, as ``float32`` or ``bfloat16``.

    ``auto`` is bfloat16 for a ``frozen`` base of 1 GiB and more if it is fast; other values are returned unchanged.
    """
    if dtype == "auto":
        return "bfloat16" if frozen and size >= LARGE and bf16_is_faster() else "float32"
    return dtype
