"""The measurement of large decoders, with one that is as small as they are large."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench.decoder import SHAPES, main


@pytest.mark.parametrize(("kind", "options"), [("qwen2", []), ("llama", ["--option", "gradient_checkpointing=true"])])
def test_a_tiny_decoder_is_measured(kind: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["tiny", "--kind", kind, "--rows", "24", "--phrases", "6", "--tokens", "64", "--batch", "8", *options])
    measured: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["decoder"] == f"{kind} tiny"
    assert measured["packed"] is True
    assert measured["gradient_checkpointing"] is bool(options)
    assert measured["batch_size"] == 8
    assert 0 < measured["trained_weights"] < measured["weights"] / 4
    assert measured["users_per_second"] > 0
    assert 0.1 < measured["peak_gib"] < 64
    assert measured["version_mib"] < measured["base_mib"] / 2, "the version holds no weights of the base"


def test_a_7b_decoder_has_7_billion_weights() -> None:
    width, layers, heads, key_heads, inner, rows = SHAPES["7b"]
    attention = 2 * width * width + 2 * width * width * key_heads // heads
    weights = layers * (attention + 3 * width * inner) + rows * width
    assert 6.9e9 < weights < 7.7e9
