from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from transformers import AutoModelForSequenceClassification

from segadmin.settings import Settings
from segadmin_plugins.backbones.transformer.stored import LEARNED
from tests.conftest import Cli
from tests.full_disk import no_space
from tests.models import make_model
from tests.planted import retrain


def test_a_version_is_exported_with_all_of_its_weights(shop: Settings, cli: Cli, tmp_path: Path) -> None:
    """Export needs no store and no base afterwards; what is stored is an adapter."""
    base = make_model("qwen2", tmp_path / "qwen2")
    options = {"model": str(base), "tuner": "lora", "store": "adapter", "max_tokens": 16, "epochs": 1, "head_steps": 20}
    retrain(shop, backbone="hf", backbone_options=options, baselines=[]).until("gate")
    stored = max((shop.store_path / "models").iterdir(), key=lambda path: path.stat().st_mtime)
    assert (stored / LEARNED).exists()
    words = ["models", "export", "2", "--out", str(tmp_path / "out")]
    with no_space(40_000):  # a process started anew inherits it
        command = [sys.executable, "-m", "segadmin_api.cli", *words]
        full = subprocess.run(command, check=False, capture_output=True, text=True)
    message = f"Error: {tmp_path}/out cannot be written: File too large. Name another: --out\n"
    assert (full.returncode, full.stderr) == (1, message)
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name]
    done = cli(*words)
    assert done.stderr == ""
    assert done.stdout.startswith("Version 2: ")
    base.rename(tmp_path / "gone")
    model, report = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert list(model.config.id2label.values()) == ["low", "mid", "high"]
    assert (tmp_path / "out" / "manifest.json").exists()
    again = cli(*words, check=False)
    assert again.returncode == 1
    assert "exists already. Name another: --out" in again.stderr
