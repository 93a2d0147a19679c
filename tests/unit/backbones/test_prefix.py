from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from segadmin.contracts.backbone import FitContext
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.hf import HuggingFace
from segadmin_plugins.backbones.transformer.prefix import insert
from tests.models import make_model


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_prefix_computed_from_a_text_acts_like_the_text(kind: str, tmp_path: Path) -> None:
    text = AutoModelForSequenceClassification.from_pretrained(make_model(kind, tmp_path), num_labels=3).eval()
    text.config.pad_token_id = 1
    first, then = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[9, 10, 11], [12, 13, 1]])
    both = torch.cat([first.expand(2, -1), then], dim=1)
    places = torch.tensor([[0, 1, 2, 3, 0, 1, 2]]).expand(2, -1)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    with torch.inference_mode():
        wanted = text(both, attention_mask=torch.cat([mask.new_ones(2, 4), mask], dim=1), position_ids=places).logits
        read = text(first, use_cache=True).past_key_values
    insert(text, 4)
    states = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in read.layers])
    assert text.prefixes.states.shape == states.shape
    text.prefixes.states.data.copy_(states)
    with torch.inference_mode():
        logits = text(input_ids=then, attention_mask=mask).logits
    torch.testing.assert_close(logits, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "llama"])
def test_padding_and_bfloat16_do_not_change_the_logits(kind: str, tmp_path: Path) -> None:
    text = AutoModelForSequenceClassification.from_pretrained(make_model(kind, tmp_path), num_labels=3).eval()
    text.config.pad_token_id = 1
    insert(text, 16)  # with the text's 24 tokens more than the model has positions for
    torch.nn.init.normal_(text.prefixes.states)
    ids = torch.randint(5, 10, (2, 24), generator=torch.Generator().manual_seed(0))
    short = ids[1:, :9].clone()
    ids[1, 9:], mask = 1, torch.ones_like(ids)
    mask[1, 9:] = 0
    with torch.inference_mode():
        together = text(input_ids=ids, attention_mask=mask).logits
        alone = text(input_ids=short, attention_mask=torch.ones_like(short)).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = text(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rough.float(), together, atol=3e-2, rtol=0.1)


def test_the_prefix_is_saved_beside_a_hugging_face_model(tmp_path: Path) -> None:
    backbone = HuggingFace(
        model=str(make_model("bert", tmp_path / "bert")), tuner="prefix", max_tokens=16, epochs=2, features=False
    )
    test = planted(40, seed=2)
    (tmp_path / "work").mkdir()
    fitted = backbone.fit(planted(128), planted(48, seed=1), FitContext(Settings(home=tmp_path), tmp_path / "work"))
    torch.nn.init.normal_(fitted.model.text.prefixes.states)  # a model of random weights has learnt next to nothing
    fitted.save(tmp_path / "saved")
    _, loading_info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not any(loading_info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before = fitted.predict(test)
    np.testing.assert_allclose(backbone.load(tmp_path / "saved", Settings()).predict(test), before, atol=1e-6)
    (tmp_path / "saved/prefix.safetensors").unlink()
    assert np.abs(backbone.load(tmp_path / "saved", Settings()).predict(test) - before).max() > 1e-5
