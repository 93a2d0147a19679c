"""LoRA: low-rank updates beside frozen weights (Hu et al., 2021), merged into them before saving."""

from __future__ import annotations

from typing import Any

RANK = 8


def with_lora(text: Any) -> Any:
    """Return ``text`` with low-rank updates on all its linear layers; its classification layer learns in full."""
    from peft import LoraConfig, TaskType, get_peft_model

    return get_peft_model(
        text,
        LoraConfig(
            task_type=TaskType.SEQ_CLS, r=RANK, lora_alpha=2 * RANK, lora_dropout=0.05, target_modules="all-linear"
        ),
    )
