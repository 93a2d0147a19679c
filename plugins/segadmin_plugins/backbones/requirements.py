"""Whether a backbone's libraries are here, found out without importing them."""

from __future__ import annotations

import os
from importlib.util import find_spec

from segadmin.errors import BackboneUnavailable

TRANSFORMERS = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "sklearn")


def require(backbone: str, modules: tuple[str, ...], *, extra: str = "worker") -> None:
    """Check that ``modules`` can be imported.

    Raises:
        BackboneUnavailable: naming those that cannot, and the extra that brings them.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise BackboneUnavailable(
            f"The backbone {backbone!r} needs {', '.join(missing)}, not installed here. "
            f"Run: pip install 'segadmin[{extra}]'"
        )


def threads() -> int:
    """Return how many threads to compute with: ``OMP_NUM_THREADS``, else the CPUs this process may use.

    Called before torch or LightGBM is imported, it also has idle threads sleep instead of spin: where two fits
    share the CPUs, as a job's baselines and its fine-tuning do, spinning makes both dozens of times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted):
        return int(wanted)
    import joblib  # type: ignore[import-untyped]

    return int(joblib.cpu_count())
