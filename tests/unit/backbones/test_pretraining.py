"""Reading without labels, of models whose encoder and decoder share one embedding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segadmin.contracts.backbone import Examples, FitContext, Pretraining
from segadmin.errors import ConfigurationError
from segadmin.settings import Settings
from segadmin.testing.backbones import planted
from segadmin_plugins.backbones.hf import HuggingFace
from tests.models import make_model

TRAIN, VALIDATION, TEST = planted(96), planted(24, seed=1), planted(40, seed=2)


def test_an_encoder_decoder_is_pretrained_on_masked_text_and_fitted(tmp_path: Path) -> None:
    bart = HuggingFace(
        model=str(make_model("bart", tmp_path / "bart")), max_tokens=24, epochs=8, batch_size=16, learning_rate=5e-3
    )
    (tmp_path / "read").mkdir()
    settings = Settings(home=tmp_path)
    texts, held_out = (Examples(examples.frame, (), ()) for examples in (TRAIN, VALIDATION))
    pretrained = bart.pretrain(texts, held_out, FitContext(settings, tmp_path / "read"), Pretraining(new_words=2))
    report = pretrained.report
    assert report["objective"] == "denoising"
    assert report["held_out_loss"] < report["held_out_loss_before"] - 0.5
    pretrained.save(tmp_path / "pretrained")
    (tmp_path / "work").mkdir()
    run = FitContext(settings, tmp_path / "work", start=tmp_path / "pretrained")
    fitted = replace(bart, epochs=2).fit(TRAIN, VALIDATION, run)
    fitted.save(tmp_path / "saved")
    np.testing.assert_allclose(bart.load(tmp_path / "saved", settings).predict(TEST), fitted.predict(TEST), atol=1e-5)


def test_a_model_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    t5 = HuggingFace(model=str(make_model("t5", tmp_path / "t5")), max_tokens=24)
    texts = Examples(TRAIN.frame, (), ())
    with pytest.raises(ConfigurationError, match="A t5 model cannot be pretrained here: its tokenizer has no mask"):
        t5.pretrain(texts, texts, FitContext(Settings(home=tmp_path), tmp_path), Pretraining())
