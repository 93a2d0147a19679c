"""ONNX Runtime on padded texts of similar length, on CPUs."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from segadmin.contracts.engine import Engine, Reader
from segadmin.contracts.plugin_errors import describe
from segadmin.errors import EngineUnavailable
from segadmin.ragged import Ragged

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Tokens at once: texts of similar length have little padding.
_TOKENS = 1024
#: The newest opset that torch traces into.
_OPSET = 20
_INPUTS = ("input_ids", "attention_mask")
#: A file of ONNX is one message of Protocol Buffers, which is smaller than 2 GiB.
_LARGEST = 2**31


@dataclass(frozen=True)
class OnnxRuntime(Engine):
    """ONNX Runtime, of the extra ``onnxruntime``: the model exported from PyTorch, in float32 or int8.

    In int8 the weights of the matrix products are quantized once, each output channel with a scale of its own, and the
    states that they are multiplied with in every batch, with one scale. Softmax, normalization, embeddings and the
    products of states with states stay in float32. So the logits of a text depend a little on the others of its batch.
    """

    name: ClassVar[str] = "onnxruntime"
    requires: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    #: The model as a file of ONNX, which all precisions begin with.
    _exported: dict[Any, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def precisions(self, device: str) -> tuple[str, ...]:
        """Return ``float32`` and ``int8`` on a CPU; nothing where it is not installed."""
        return ("float32", "int8") if device == "cpu" and self._is_installed() else ()

    def tokens_at_once(self, text: Any) -> int:
        """Return how many tokens to read at once."""
        return _TOKENS

    def reader(self, text: Any, pad_id: int, precision: str) -> Reader:
        """Return a function that calls the exported model.

        Raises:
            EngineUnavailable: it is not installed, or torch cannot export this model.
        """
        if not self._is_installed():
            raise EngineUnavailable("it is not installed: pip install 'segadmin[onnxruntime]'")
        import onnxruntime
        import torch

        from segadmin_plugins.engines.plain import padded

        if text not in self._exported:
            self._exported[text] = _export(text)
        model = self._exported[text] if precision == "float32" else _quantized(self._exported[text])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.enable_mem_pattern = False  # it keeps a plan for every shape, and texts have many
        options.log_severity_level = 3  # errors
        # CPUs without VNNI add products of int8 in 16 bits, which overflow. Others ignore it.
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def read(texts: Ragged) -> NDArray[np.float32]:
            inputs = dict(zip(_INPUTS, padded(texts, pad_id, multiple=1), strict=True))
            logits: NDArray[np.float32] = session.run(None, inputs)[0]
            return logits

        return read

    def _is_installed(self) -> bool:
        return all(find_spec(module) is not None for module in self.requires)


def _export(text: Any) -> bytes:
    """Return the model as a file of ONNX, in float32.

    Raises:
        EngineUnavailable: it is too large, or torch cannot export it.
    """
    import torch

    from segadmin_plugins.engines.tracing import Logits, example, tracing

    size = sum(4 * weights.numel() for weights in text.parameters())
    if size >= _LARGEST:
        raise EngineUnavailable(f"its weights have {size / 2**30:.1f} GiB in float32, and a file of ONNX at most 2 GiB")
    if any(weights.dtype != torch.float32 for weights in text.parameters()):
        text = copy.deepcopy(text).float()  # the runtime has no products in bfloat16
    with tempfile.TemporaryDirectory(prefix="segadmin-onnx-") as folder:
        file = Path(folder) / "float32.onnx"
        try:
            with tracing(), _eager_attention(text):
                torch.onnx.export(
                    Logits(text),
                    example(),
                    file,
                    dynamo=False,  # the other exporter needs onnxscript
                    input_names=list(_INPUTS),
                    output_names=["logits"],
                    dynamic_axes={name: {0: "texts", 1: "tokens"} for name in _INPUTS},
                    opset_version=_OPSET,
                )
        except Exception as error:  # any code of transformers can be what torch cannot trace
            kind = text.config.model_type
            raise EngineUnavailable(f"models of the kind {kind} cannot be exported: {describe(error)}") from error
        return file.read_bytes()


@contextmanager
def _eager_attention(text: Any) -> Iterator[None]:
    """Let ``text`` attend with plain matrix products in the block: the runtime fuses those best."""
    before, text.config._attn_implementation = text.config._attn_implementation, "eager"
    try:
        yield
    finally:
        text.config._attn_implementation = before


def _quantized(model: bytes) -> bytes:
    """Return the ``model`` with the weights of its matrix products in int8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(prefix="segadmin-onnx-") as folder, _without_advice():
        exported, quantized = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        exported.write_bytes(model)
        quantize_dynamic(
            exported, quantized, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8
        )
        return quantized.read_bytes()


@contextmanager
def _without_advice() -> Iterator[None]:
    """Drop what is logged with the root logger in the block, as onnxruntime does; segadmin's loggers have names."""
    root = logging.getLogger()

    def is_named(record: logging.LogRecord) -> bool:
        return record.name != root.name

    root.addFilter(is_named)
    try:
        yield
    finally:
        root.removeFilter(is_named)
