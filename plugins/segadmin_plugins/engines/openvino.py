"""OpenVINO on padded texts of similar length, on CPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from segadmin.contracts.engine import Engine, Reader
from segadmin.errors import EngineUnavailable
from segadmin.ragged import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
#: Tokens at once: texts of similar length have little padding.
_TOKENS = 1024


@dataclass(frozen=True)
class OpenVino(Engine):
    """OpenVINO, of the extra ``openvino``: the model converted from PyTorch, in float32 or bfloat16."""

    name: ClassVar[str] = "openvino"
    requires: ClassVar[tuple[str, ...]] = ("openvino",)

    #: The converted model, which all precisions are compiled from.
    _converted: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def precisions(self, device: str) -> tuple[str, ...]:
        """Return ``float32``, and ``bfloat16`` where the CPU has it; nothing where it is not installed."""
        if device != "cpu" or find_spec("openvino") is None:
            return ()
        import openvino

        has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("float32", "bfloat16") if has_bf16 else ("float32",)

    def tokens_at_once(self, text: Any) -> int:
        """Return how many tokens to read at once."""
        return _TOKENS

    def reader(self, text: Any, pad_id: int, precision: str) -> Reader:
        """Return a function that calls the converted model.

        Raises:
            EngineUnavailable: it is not installed, or cannot convert this model.
        """
        if find_spec("openvino") is None:
            raise EngineUnavailable("it is not installed: pip install 'segadmin[openvino]'")
        import openvino
        import torch

        from segadmin_plugins.engines.plain import padded
        from segadmin_plugins.engines.tracing import Logits, example, tracing

        if text not in self._converted:
            with tracing():
                self._converted[text] = openvino.convert_model(Logits(text), example_input=example())
        options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = openvino.Core().compile_model(
            self._converted[text], "CPU", {**options, "PERFORMANCE_HINT": "LATENCY"}
        )

        def read(texts: Ragged) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = compiled(list(padded(texts, pad_id, multiple=1)))[0]
            return np.array(logits, np.float32)

        return read
