"""``lora``, ``adalora`` and ``ia3``: a few trainable weights that are merged into the frozen ones afterwards."""

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
    """Base of the tuners that use PEFT."""

    requires: ClassVar[tuple[str, ...]] = ("peft",)
    freezes_base: ClassVar[bool] = True

    def merged(self, model: Any) -> Any:
        """Return the model with the update added to its weights: the same result up to rounding."""
        return model.merge_and_unload()


@dataclass(frozen=True)
class Lora(_Peft):
    """Low-rank updates of all linear layers (Hu et al. 2021); the classification layer is trained in full."""

    name: ClassVar[str] = "lora"
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Annotated[float, Field(allow_inf_nan=False)] = 16.0  #: the update is scaled by ``alpha / rank``
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model with trainable updates."""
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
        with _without_warnings():
            return get_peft_model(model, config)


@dataclass(frozen=True)
class AdaLora(_Peft):
    """LoRA with adaptive ranks: it starts with higher ranks and prunes the least important ones (Zhang et al. 2023)."""

    name: ClassVar[str] = "adalora"
    rank: Annotated[int, Field(ge=1, le=1024)] = 8  #: on average at the end
    start_rank: Annotated[int, Field(ge=1, le=1024)] = 12

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model with trainable updates, which are pruned between 10 % and 60 % of the steps."""
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
        with _without_warnings():
            return get_peft_model(model, config)

    def after_step(self, model: Any, step: int) -> None:
        """Prune ranks."""
        model.base_model.update_and_allocate(step)


@dataclass(frozen=True)
class Ia3(_Peft):
    """One factor for each activation inside attention and feed-forward layers (Liu et al. 2022): the fewest weights."""

    name: ClassVar[str] = "ia3"

    def adapt(self, model: Any, run: TuningRun) -> Any:
        """Return the model with trainable factors."""
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
        with _without_warnings():
            return get_peft_model(model, config)


_LINEAR = ("Linear", "Conv1D")
#: Names of the second layer of a feed-forward block; its factors scale its input, those of other layers their output.
_DOWN = (".lin2", ".down_proj", ".fc2", ".wo", ".output.dense", ".mlp.c_proj")


def _linear(model: Any) -> list[str]:
    """Return the names of the linear layers of the pretrained part."""
    layers = model.base_model.named_modules()
    return [f"{model.base_model_prefix}.{name}" for name, module in layers if type(module).__name__ in _LINEAR]


def _heads(model: Any) -> list[str]:
    """Return the names of the new modules, which are trained in full: the classification layer and those before it.

    They are named layer by layer: PEFT cannot merge IA3's heads of several layers (RoBERTa, BART, T5) otherwise.
    """
    inside = f"{model.base_model_prefix}."
    return [
        name
        for name, part in model.named_modules()
        if name and not f"{name}.".startswith(inside) and next(part.children(), None) is None
        if any(True for _ in part.parameters())
    ]


def _transposed(model: Any) -> bool:
    """Whether linear layers store their weights transposed, as in GPT-2."""
    return any(type(module).__name__ == "Conv1D" for module in model.modules())


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress a deprecation warning that PEFT causes in transformers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
