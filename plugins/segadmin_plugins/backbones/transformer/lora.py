"""LoRA: low-rank updates beside frozen weights (Hu et al., 2021), merged into them before saving."""

from __future__ import annotations

import warnings
from typing import Any

RANK = 8


def with_lora(text: Any) -> Any:
    """Return ``text`` with low-rank updates on all its linear layers; its classification layer learns in full."""
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=RANK,
        lora_alpha=2 * RANK,
        lora_dropout=0.05,
        target_modules="all-linear",
        fan_in_fan_out=any(type(one).__name__ == "Conv1D" for one in text.modules()),  # GPT-2 keeps weights transposed
    )
    with warnings.catch_warnings():  # peft asks transformers for a property by its old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(text, config)
