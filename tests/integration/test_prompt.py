"""A decoder with a prompt, from the enqueued job to the version that is exported."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from segadmin.settings import Settings
from tests.conftest import Cli
from tests.models import make_model
from tests.planted import label_future_spend, plant, retrain


def test_a_version_says_what_its_prompt_was_and_is_exported_whole(settings: Settings, cli: Cli, tmp_path: Path) -> None:
    base = make_model("qwen2", tmp_path / "qwen2")
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base, max_position_embeddings=256)).save_pretrained(
        base
    )
    plant(settings, users=120)
    label_future_spend(settings)
    options = {"model": str(base), "prompt": "classification", "tuner": "lora", "store": "adapter"}
    options |= {"max_tokens": "96", "epochs": "1", "head_steps": "20"}
    run = retrain(settings, backbone="hf", backbone_options=options, baselines=[]).until("gate")
    number = str(run.inputs["evaluate"][0]["model_version_id"])
    shown = cli("models", "show", number).stdout
    assert "  prompt: tokens=" in shown
    assert "classification_layer=language model" in shown
    cli("models", "export", number, "--out", str(tmp_path / "whole"))
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
