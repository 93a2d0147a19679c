"""The measurement of large decoders, with one that is as small as they are large."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench.decoder import SHAPES, main


@pytest.mark.parametrize(
    ("kind", "option"), [("qwen2", "prompt=classification"), ("llama", "gradient_checkpointing=true")]
)
def test_a_tiny_decoder_is_measured(kind: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    shape = ["--rows", "24", "--phrases", "6", "--tokens", "96", "--batch", "8"]
    main(["tiny", "--kind", kind, *shape, "--option", option])
    measured: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["decoder"] == f"{kind} tiny"
    assert measured["packed"] is True
    assert measured["gradient_checkpointing"] is option.startswith("gradient")
    assert measured["batch_size"] == 8
    assert ("prompt" in measured) is option.startswith("prompt")
    assert measured.get("prompt", {}).get("classification_layer", "language model") == "language model"
    assert 0 < measured["trained_weights"] < measured["weights"] / 4
    assert measured["users_per_second"] > 0
    assert 0.1 < measured["peak_gib"] < 64
    assert measured["version_mib"] < measured["base_mib"] / 2, "the version holds no weights of the base"


def test_a_7b_decoder_has_7_billion_weights() -> None:
    width, layers, heads, key_heads, inner, rows = SHAPES["7b"]
    attention = 2 * width * width + 2 * width * width * key_heads // heads
    weights = layers * (attention + 3 * width * inner) + rows * width
    assert 6.9e9 < weights < 7.7e9
