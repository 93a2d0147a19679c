"""A classifier as a function of two tensors, for runtimes that trace what PyTorch computes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from segadmin_plugins.engines.silence_transformers import quiet


class Logits(torch.nn.Module):
    """The logits of ``text`` as a function of ids and attention mask, each ``(texts, tokens)``."""

    def __init__(self, text: Any) -> None:
        """Take the classifier, and evaluate it."""
        super().__init__()
        self.text = text
        self.eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """Return the logits, ``(texts, segments)``."""
        return self.text(input_ids=input_ids, attention_mask=attention_mask).logits


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask to trace with."""
    ids = torch.ones((2, 8), dtype=torch.int64)
    return ids, ids.clone()


@contextmanager
def tracing() -> Iterator[None]:
    """Trace in the block without gradients and without the warnings of torch, which deprecates it."""
    with quiet(), warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        yield
