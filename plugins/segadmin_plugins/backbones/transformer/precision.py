"""The precision of weights: float32, or bfloat16 for large frozen ones if the device computes it fast."""

from __future__ import annotations

import torch

from segadmin_plugins.backbones.transformer.weights_lookup import LARGE


def bf16_is_faster() -> bool:
    """Return whether this machine computes bfloat16 faster than float32: newer GPUs, and CPUs with AMX."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def dtype_of(stored: str) -> torch.dtype:
    """Return the precision to load weights in, given the ``stored`` one: bfloat16 only if it is fast."""
    return torch.bfloat16 if stored.endswith("bfloat16") and bf16_is_faster() else torch.float32


def dtype_for_base(dtype: str, size: int, *, frozen: bool) -> str:
    """Return the precision for a base of ``size`` bytes, as ``float32`` or ``bfloat16``.

    ``auto`` is bfloat16 for a ``frozen`` base of 1 GiB and more if it is fast; other values are returned unchanged.
    """
    if dtype == "auto":
        return "bfloat16" if frozen and size >= LARGE and bf16_is_faster() else "float32"
    return dtype
