"""``lora``, ``adalora`` and ``ia3``: a few weights beside or in front of frozen ones, merged into them afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from segadmin.contracts.tuner import Tuner, TuningRun


@dataclass(frozen=True)
class _Peft(Tuner):
    """What the methods of PEFT have in common."""

    requires: ClassVar[tuple[str, ...]] = ("peft",)
    freezes_base: ClassVar[bool] = True

    def merged(self, model: Any) -> Any:
        """Return the model with the update added to its weights: the same sums, in another order."""
        return model.merge_and_unload()


@dataclass(frozen=True)
class Lora(_Peft):
    """Low-rank updates beside all linear layers (Hu et al. 2021); the classification layer learns in full."""

    name: ClassVar[str] = "lora"
    rank: Annotated[int, Field(ge=1)] = 8
    alpha: float = 16.0  #: the update is scaled by ``alpha / rank``
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model with updates that learn."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            task_type="SEQ_CLS",
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=_linear(model),
            modules_to_save=_heads(model),
            fan_in_fan_out=_transposed(model),
        )
        with _quiet():
            return get_peft_model(model, config)


@dataclass(frozen=True)
class AdaLora(_Peft):
    """LoRA whose ranks go where they matter most: it starts with more and prunes them (Zhang et al. 2023)."""

    name: ClassVar[str] = "adalora"
    rank: Annotated[int, Field(ge=1)] = 8  #: on average at the end
    start_rank: Annotated[int, Field(ge=1)] = 12

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model with updates that learn, and are pruned between a tenth and six tenths of the steps."""
        from peft import AdaLoraConfig, get_peft_model

        config = AdaLoraConfig(
            task_type="SEQ_CLS",
            target_r=self.rank,
            init_r=max(self.start_rank, self.rank),
            lora_alpha=2 * self.rank,
            tinit=run.steps // 10,
            tfinal=2 * run.steps // 5,
            total_step=max(run.steps, 3),
            deltaT=max(1, run.steps // 100),
            target_modules=_linear(model),
            modules_to_save=_heads(model),
            fan_in_fan_out=_transposed(model),
        )
        with _quiet():
            return get_peft_model(model, config)

    def after_step(self, model: Any, step: int) -> None:
        """Let ranks be pruned."""
        model.base_model.update_and_allocate(step)


@dataclass(frozen=True)
class Ia3(_Peft):
    """One factor for each number inside attention and feed-forward layers (Liu et al. 2022): the fewest weights."""

    name: ClassVar[str] = "ia3"

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model with factors that learn."""
        from peft import IA3Config, get_peft_model

        linear = _linear(model)
        down = [name for name in linear if name.endswith(_DOWN)]
        config = IA3Config(
            task_type="SEQ_CLS",
            target_modules=linear,
            modules_to_save=_heads(model),
            feedforward_modules=[name for name in down if ".attention." not in name],
            fan_in_fan_out=_transposed(model),
        )
        with _quiet():
            return get_peft_model(model, config)


_LINEAR = ("Linear", "Conv1D")
#: What the second layer of a feed-forward block is called; its factors stand before it, the others' behind.
_DOWN = (".lin2", ".down_proj", ".fc2", ".wo", ".output.dense", ".mlp.c_proj")


def _linear(model: Any) -> list[str]:
    """Return the names of the linear layers of the pretrained part."""
    layers = model.base_model.named_modules()
    return [f"{model.base_model_prefix}.{name}" for name, module in layers if type(module).__name__ in _LINEAR]


def _heads(model: Any) -> list[str]:
    """Return the names of what is new, and so learns in full: the classification layer, and what stands before it.

    Layer by layer, for PEFT puts IA3's heads of several layers (RoBERTa, BART, T5) back together in no other way.
    """
    inside = f"{model.base_model_prefix}."
    return [
        name
        for name, part in model.named_modules()
        if name and not f"{name}.".startswith(inside) and next(part.children(), None) is None
        if any(True for _ in part.parameters())
    ]


def _transposed(model: Any) -> bool:
    """Whether linear layers keep their weights transposed, as in GPT-2."""
    return any(type(one).__name__ == "Conv1D" for one in model.modules())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PEFT from warning of what transformers calls otherwise by now."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
