"""Checks that a backbone's libraries are installed, without importing them."""

from __future__ import annotations

import os
from importlib.util import find_spec

from segadmin.errors import BackboneUnavailable

TRANSFORMERS = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "sklearn")


def require(backbone: str, modules: tuple[str, ...], *, extra: str = "worker") -> None:
    """Check that ``modules`` can be imported.

    Raises:
        BackboneUnavailable: some cannot; the message names them and the extra that installs them.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise BackboneUnavailable(
            f"The backbone {backbone!r} needs {', '.join(missing)}, not installed here. "
            f"Run: pip install 'segadmin[{extra}]'"
        )


def threads() -> int:
    """Return the number of threads to compute with: ``OMP_NUM_THREADS``, else the CPUs this process may use.

    Called before torch or LightGBM is imported, it also makes idle threads sleep instead of spin. Spinning makes two
    fits that share the CPUs, such as a baseline and a fine-tuning, dozens of times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    configured = os.environ.get("OMP_NUM_THREADS", "")
    if configured.isdigit() and int(configured):
        return int(configured)
    import joblib  # type: ignore[import-untyped]

    return int(joblib.cpu_count())
