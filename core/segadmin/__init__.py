"""segadmin: segmentation of an online shop's users by their behaviour.

This is the interface for plugin authors. Names are loaded on first use, so ``import segadmin`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segadmin.contracts.backbone import Backbone, Classifier, Examples, Fit, Learnt, Pretraining
    from segadmin.contracts.hookspecs import hookimpl
    from segadmin.contracts.labeler import Labeler, Labelled
    from segadmin.contracts.source import Sink, Source
    from segadmin.contracts.textualizer import TextContext, Textualizer, per_user
    from segadmin.contracts.tracker import TrackedRun, Tracker, Tracking
    from segadmin.contracts.tuner import Tuner, TuningRun
    from segadmin.errors import (
        BackboneUnavailable,
        ConfigurationError,
        DataError,
        PluginContractError,
        SegadminError,
    )
    from segadmin.settings import Settings, get_settings

_MODULES = {
    "Backbone": "segadmin.contracts.backbone",
    "BackboneUnavailable": "segadmin.errors",
    "Classifier": "segadmin.contracts.backbone",
    "ConfigurationError": "segadmin.errors",
    "DataError": "segadmin.errors",
    "Examples": "segadmin.contracts.backbone",
    "Fit": "segadmin.contracts.backbone",
    "Labelled": "segadmin.contracts.labeler",
    "Labeler": "segadmin.contracts.labeler",
    "Learnt": "segadmin.contracts.backbone",
    "PluginContractError": "segadmin.errors",
    "Pretraining": "segadmin.contracts.backbone",
    "SegadminError": "segadmin.errors",
    "Settings": "segadmin.settings",
    "Sink": "segadmin.contracts.source",
    "Source": "segadmin.contracts.source",
    "TextContext": "segadmin.contracts.textualizer",
    "Textualizer": "segadmin.contracts.textualizer",
    "TrackedRun": "segadmin.contracts.tracker",
    "Tracker": "segadmin.contracts.tracker",
    "Tracking": "segadmin.contracts.tracker",
    "Tuner": "segadmin.contracts.tuner",
    "TuningRun": "segadmin.contracts.tuner",
    "get_settings": "segadmin.settings",
    "hookimpl": "segadmin.contracts.hookspecs",
    "per_user": "segadmin.contracts.textualizer",
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
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'segadmin' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
