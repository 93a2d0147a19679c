"""Contract tests: run them on your own plugin to verify that segadmin can use it."""

from segadmin.testing.backbones import check_backbone
from segadmin.testing.engines import check_engine
from segadmin.testing.feeds import check_feed, sample_batches
from segadmin.testing.modalities import check_modality, sample_vectors
from segadmin.testing.textualizers import check_textualizer, sample_events

__all__ = [
    "check_backbone",
    "check_engine",
    "check_feed",
    "check_modality",
    "check_textualizer",
    "sample_batches",
    "sample_events",
    "sample_vectors",
]
