"""Outcomes are measured as the labels were made."""

from __future__ import annotations

from segadmin.labels.labeling import label, labeler_of
from segadmin.settings import Settings
from segadmin_plugins.labelers.future_affinity import FutureAffinity
from tests.planted import LABELER


def test_the_labeler_of_outcomes_has_the_options_of_the_labels(shop: Settings) -> None:
    """Otherwise labels by department would be compared with outcomes by category."""
    label_set = label(shop, "departments", "future-affinity", {**LABELER, "by": "category", "least": 3})
    labeler = labeler_of(shop, label_set)
    assert isinstance(labeler, FutureAffinity)
    assert (labeler.least, labeler.outcome_weeks) == (3, 2)
