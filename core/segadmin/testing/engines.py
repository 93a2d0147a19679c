"""The contract of an engine as a test that an author runs over their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segadmin.contracts.engine import Engine
from segadmin.errors import EngineUnavailable
from segadmin.ragged import Ragged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Lengths of the texts that an engine is given at once; one token is the shortest that there is.
LENGTHS = ((5, 64, 12, 12, 1, 33), (17,), (1, 1))
#: How far a float32 logit may be from that of transformers.
EXACT = 1e-3
_VOCABULARY, _PAD = 50, 0


def sample_classifier() -> Any:
    """Return a small BERT with random weights that puts texts into three segments."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = BertForSequenceClassification(BertConfig(vocab_size=_VOCABULARY, num_labels=3, **shape)).eval()
    for weights in model.parameters():
        weights.data *= 3  # otherwise the logits of all texts are nearly equal
    return model


def check_engine(engine: Engine) -> dict[str, float | str]:
    """Hold ``engine`` to its contract on the CPU.

    Returns:
        By precision the largest difference of a logit from transformers, or why the engine cannot compute the sample
        model in it. A precision that differs by much keeps the contract: it is left aside where it is tried.

    Raises:
        AssertionError: naming what the contract asks.
    """
    precisions = engine.precisions("cpu")
    assert isinstance(precisions, tuple), f"precisions() must return a tuple, got {precisions!r}"
    return {precision: _check_precision(engine, precision) for precision in precisions}


def _check_precision(engine: Engine, precision: str) -> float | str:
    import numpy as np

    model, texts = sample_classifier(), [_texts(lengths) for lengths in LENGTHS]
    expected = [_logits(model, each) for each in texts]
    try:
        read = engine.reader(model, _PAD, precision)
    except EngineUnavailable as error:
        return str(error)
    tokens = engine.tokens_at_once(model)
    assert tokens >= 1, f"tokens_at_once() must be at least 1, got {tokens}"
    differences = []
    for each, right in zip(texts, expected, strict=True):
        logits = read(each)
        assert logits.shape == right.shape, (
            f"a reader must return (texts, segments) = {right.shape}, got {logits.shape}"
        )
        assert logits.dtype == np.float32, f"a reader must return float32, got {logits.dtype}"
        assert np.isfinite(logits).all(), "a reader must return finite logits"
        differences.append(float(np.abs(logits - right).max()))
    difference = max(differences)
    if precision == "float32":
        assert difference <= EXACT, (
            f"in float32, logits may differ from transformers by {EXACT}, not by {difference:.2g}"
        )
    for each, right in zip(texts, expected, strict=True):
        assert np.array_equal(_logits(model, each), right), "reader() must leave the model as it is"
    return round(difference, 6)


def _texts(lengths: tuple[int, ...]) -> Ragged:
    import numpy as np

    random = np.random.default_rng(0)
    return Ragged.from_rows([random.integers(1, _VOCABULARY, length) for length in lengths])


def _logits(model: Any, texts: Ragged) -> NDArray[np.float32]:
    """Return the logits of each text, read alone by transformers, so that nothing is padded."""
    import numpy as np
    import torch

    with torch.inference_mode():
        rows = [model(input_ids=torch.from_numpy(ids.astype(np.int64))[None]).logits.numpy() for ids in texts]
    return np.concatenate(rows)
