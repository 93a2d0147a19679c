"""The batch size of a fit: as many users at a time as fit in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from segadmin_plugins.engines.smaller_batches import with_smaller_batches

if TYPE_CHECKING:
    from torch import nn

    from segadmin.contracts.backbone import FitContext
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

Fitted = TypeVar("Fitted")
#: Advice if memory is too small for one user.
_LESS_MEMORY = (
    "If nothing else needs the memory, read less: --backbone-option max_tokens=64, or train fewer weights: "
    "--backbone-option tuner=lora"
)


def with_fitting_batches(
    options: TrainingOptions,
    fit: Callable[[TrainingOptions], Fitted],
    run: FitContext,
    *,
    model: nn.Module | None = None,
    what: str = "training",
    advice: str = _LESS_MEMORY,
    least: int = 1,
) -> tuple[Fitted, int]:
    """Return what ``fit`` returns and the batch size; out of memory, it is retried with batches half as large.

    Args:
        options: of the fit, with the batch size to begin with.
        fit: called with the options of each attempt.
        run: its progress shows further attempts.
        model: what is trained in this process; its gradients are dropped before a further attempt.
        what: the activity, for messages.
        advice: what to change if even ``least`` users do not fit.
        least: the smallest batch size; only multiples of it are tried.

    Raises:
        OutOfMemory: the memory is too small for the smallest batches.
    """

    def report_smaller(rows: int) -> None:
        if model is not None:
            model.zero_grad(set_to_none=True)
        run.progress(0.03, f"out of memory; trying batches of {rows}")

    return with_smaller_batches(
        options.batch_size,
        lambda rows: fit(_with_batches_of(rows, options)),
        report_smaller,
        what=what,
        advice=advice,
        least=least,
    )


def _with_batches_of(rows: int, options: TrainingOptions) -> TrainingOptions:
    """Return the options with batches of ``rows``, accumulated so that a step sees no fewer users."""
    accumulate = math.ceil(options.batch_size * options.accumulate / rows)
    return replace(options, batch_size=rows, accumulate=accumulate)
