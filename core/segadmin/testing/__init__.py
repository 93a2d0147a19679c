"""Contract suites: run them over a plugin of your own to know that segadmin can use it."""

from segadmin.testing.backbones import check_backbone
from segadmin.testing.textualizers import check_textualizer, sample_events

__all__ = ["check_backbone", "check_textualizer", "sample_events"]
