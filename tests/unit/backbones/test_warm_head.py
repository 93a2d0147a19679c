from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segadmin_plugins.backbones.transformer.head import FeatureHead
from segadmin_plugins.backbones.transformer.joint_head import JointHead
from segadmin_plugins.backbones.transformer.warm_head import inherit_head

FEATURES, SEGMENTS = ["visits", "share:milk", "spend"], ["low", "high"]


@pytest.fixture
def parent(tmp_path: Path) -> tuple[FeatureHead, Path]:
    torch.manual_seed(1)
    head = FeatureHead(len(FEATURES), len(SEGMENTS)).eval()
    save_file(dict(head.state_dict()), tmp_path / "head.safetensors")
    (tmp_path / "features.json").write_text(json.dumps({"scaling": {"names": FEATURES}}))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "low", "1": "high"}}))
    return head, tmp_path


def test_equal_names_give_equal_logits_whatever_their_order(parent: tuple[FeatureHead, Path]) -> None:
    old, folder = parent
    names, segments = ["share:bread", "spend", "visits"], ["high", "middle", "low"]
    new = FeatureHead(len(names), len(segments)).eval()
    fresh = new.linear.weight[1].clone()
    assert inherit_head(new, names, segments, folder) == 2
    users = torch.randn(5, 2)  # visits, spend
    nothing = torch.zeros(5)
    before = old(torch.stack([users[:, 0], nothing, users[:, 1]], dim=1))
    for of_bread in (nothing, torch.randn(5)):  # which has no effect before it is learnt
        after = new(torch.stack([of_bread, users[:, 1], users[:, 0]], dim=1))
        torch.testing.assert_close(after[:, [2, 0]], before)
    assert torch.equal(new.linear.weight[1], fresh)


def test_a_head_without_a_common_feature_or_a_parent_stays_new(
    parent: tuple[FeatureHead, Path], tmp_path: Path
) -> None:
    head = FeatureHead(1, 2)
    state = {name: weights.clone() for name, weights in head.state_dict().items()}
    assert inherit_head(head, ["share:bread"], SEGMENTS, parent[1]) == 0
    assert inherit_head(head, ["visits"], SEGMENTS, tmp_path / "pretrained") == 0
    assert all(torch.equal(weights, state[name]) for name, weights in head.state_dict().items())


def test_a_joint_head_of_the_parent_is_not_taken_over(parent: tuple[FeatureHead, Path]) -> None:
    joint = JointHead(torch.rand(len(FEATURES), 13).cumsum(dim=1), len(SEGMENTS))
    save_file(
        {name: weights.contiguous() for name, weights in joint.state_dict().items()}, parent[1] / "head.safetensors"
    )
    assert inherit_head(FeatureHead(len(FEATURES), len(SEGMENTS)), FEATURES, SEGMENTS, parent[1]) == 0
