"""Bottleneck layers inserted after frozen layers: see :class:`segadmin_plugins.tuners.houlsby.Houlsby`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

#: Names of the last layer of an attention and of a feed-forward block: in BERT and RoBERTa, DistilBERT, GPT-2,
#: Llama, BART and T5.
_ENDS = (
    *("output.dense", "out_lin", "ffn.lin2", "attn.c_proj", "mlp.c_proj", "self_attn.o_proj", "mlp.down_proj"),
    *("self_attn.out_proj", "encoder_attn.out_proj", "fc2", "SelfAttention.o", "EncDecAttention.o", ".wo"),
)
_FILE = "adapters.safetensors"


class Bottleneck(nn.Module):
    """``x + up(gelu(down(x)))``; initially the identity."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        nn.init.normal_(self.down.weight, std=1e-3)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of ``x`` and the bottleneck's output, of the same shape."""
        changed: Tensor = x + self.up(nn.functional.gelu(self.down(x)))
        return changed


def insert(model: Any, width: int) -> int:
    """Insert a bottleneck after every block of ``model`` and return their number."""
    size = model.config.hidden_size
    blocks = [module for name, module in model.base_model.named_modules() if name.endswith(_ENDS)]
    model.bottlenecks = nn.ModuleList(Bottleneck(size, width) for _ in blocks)
    for block, bottleneck in zip(blocks, model.bottlenecks, strict=True):
        # A hook, so that the pretrained weights keep their names.
        block.register_forward_hook(lambda _module, _given, out, bottleneck=bottleneck: bottleneck(out))
    return len(blocks)


def norms(base: nn.Module) -> Iterator[nn.Module]:
    """Yield the normalization layers."""
    return (module for module in base.modules() if "norm" in type(module).__name__.lower())


def save_bottlenecks(model: Any, folder: Path) -> dict[str, Tensor] | None:
    """Write the bottlenecks, if there are any; return the weights that are the pretrained model's own."""
    if not hasattr(model, "bottlenecks"):
        return None
    state = {name: weights.detach().cpu().contiguous() for name, weights in model.bottlenecks.state_dict().items()}
    save_file(state, folder / _FILE)
    return {name: weights for name, weights in model.state_dict().items() if not name.startswith("bottlenecks.")}


def load_bottlenecks(model: Any, folder: Path) -> None:
    """Insert the bottlenecks that :func:`save_bottlenecks` wrote, if any."""
    if (folder / _FILE).exists():
        state = load_file(folder / _FILE)
        insert(model, len(state["0.down.bias"]))
        model.bottlenecks.load_state_dict(state)
