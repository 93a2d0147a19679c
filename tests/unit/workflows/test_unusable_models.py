from __future__ import annotations

import json
from pathlib import Path

import pytest

from segadmin.errors import BackboneUnavailable
from segadmin.jobs.requests import check_request
from segadmin.settings import Settings
from tests.models import make_model


@pytest.mark.parametrize("kind", ["retrain", "pretrain"])
def test_a_model_that_cannot_be_used_is_refused_before_a_job_is_saved(
    kind: str, shop: Settings, tmp_path: Path
) -> None:
    folder = make_model("bart", tmp_path / "bart")
    assert check_request(shop, kind, {"backbone": str(folder)})["backbone_options"] == {"model": str(folder)}
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackboneUnavailable, match="its header says"):
        check_request(shop, kind, {"backbone": str(folder)})
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "pegasus"}))
    with pytest.raises(BackboneUnavailable, match="no sequence classifier"):
        check_request(shop, kind, {"backbone": str(folder)})
