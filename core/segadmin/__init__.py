"""segadmin: users of an online shop, segmented from what they do.

This is what plugin authors import; names are loaded when first used, so ``import segadmin`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segadmin.errors import (
        BackboneUnavailable,
        ConfigurationError,
        DataError,
        PluginContractError,
        SegadminError,
    )
    from segadmin.events.source import Sink, Source
    from segadmin.hookspecs import hookimpl
    from segadmin.learn.backbone import Backbone, Classifier, Examples, Fit, Learnt, Pretraining
    from segadmin.learn.labeler import Labeler, Labelled
    from segadmin.learn.tracker import TrackedRun, Tracker, Tracking
    from segadmin.learn.tuner import Tuner, TuningRun
    from segadmin.settings import Settings, get_settings
    from segadmin.text.textualizer import TextContext, Textualizer, per_user

_HOMES = {
    "Backbone": "segadmin.learn.backbone",
    "BackboneUnavailable": "segadmin.errors",
    "Classifier": "segadmin.learn.backbone",
    "ConfigurationError": "segadmin.errors",
    "DataError": "segadmin.errors",
    "Examples": "segadmin.learn.backbone",
    "Fit": "segadmin.learn.backbone",
    "Labelled": "segadmin.learn.labeler",
    "Labeler": "segadmin.learn.labeler",
    "Learnt": "segadmin.learn.backbone",
    "PluginContractError": "segadmin.errors",
    "Pretraining": "segadmin.learn.backbone",
    "SegadminError": "segadmin.errors",
    "Settings": "segadmin.settings",
    "Sink": "segadmin.events.source",
    "Source": "segadmin.events.source",
    "TextContext": "segadmin.text.textualizer",
    "Textualizer": "segadmin.text.textualizer",
    "TrackedRun": "segadmin.learn.tracker",
    "Tracker": "segadmin.learn.tracker",
    "Tracking": "segadmin.learn.tracker",
    "Tuner": "segadmin.learn.tuner",
    "TuningRun": "segadmin.learn.tuner",
    "get_settings": "segadmin.settings",
    "hookimpl": "segadmin.hookspecs",
    "per_user": "segadmin.text.textualizer",
}

__all__ = [
    "Backbone",
    "BackboneUnavailable",
    "Classifier",
    "ConfigurationError",
    "DataError",
    "Examples",
    "Fit",
    "Labeler",
    "Labelled",
    "Learnt",
    "PluginContractError",
    "Pretraining",
    "SegadminError",
    "Settings",
    "Sink",
    "Source",
    "TextContext",
    "Textualizer",
    "TrackedRun",
    "Tracker",
    "Tracking",
    "Tuner",
    "TuningRun",
    "get_settings",
    "hookimpl",
    "per_user",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'segadmin' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
