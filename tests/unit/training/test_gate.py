from __future__ import annotations

import pytest

from segadmin.training.gate import compare_auroc


@pytest.mark.parametrize(
    ("challenger", "rival", "promoted"),
    [(0.81, 0.80, True), (0.7951, 0.80, True), (0.7949, 0.80, False), (None, 0.8, False), (0.8, None, False)],
)
def test_a_model_that_is_not_worse_by_more_than_the_tolerance_is_promoted(
    challenger: float | None, rival: float | None, promoted: bool
) -> None:
    verdict = compare_auroc(challenger, rival, "the champion (version 3)")
    assert verdict.promoted is promoted
    if challenger is not None and rival is not None:
        assert verdict.reason == f"test AUROC {challenger:.4f}; the champion (version 3) has 0.8000 on the same rows"
