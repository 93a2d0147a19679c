"""segadmin: segments the users of an online shop by their behaviour.

Plugin authors import these names. A name is loaded when it is first used, which keeps ``import segadmin`` fast.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segadmin.contracts.backbone import (
        Backbone,
        Classifier,
        Examples,
        FitContext,
        Pretraining,
        SavableModel,
        UnlabelledUsers,
    )
    from segadmin.contracts.engine import Engine
    from segadmin.contracts.feed import Feed, FeedBatch
    from segadmin.contracts.hookspecs import hookimpl
    from segadmin.contracts.labeler import Labeler, Labelled
    from segadmin.contracts.modality import ItemVectors, Modality
    from segadmin.contracts.source import Sink, Source
    from segadmin.contracts.textualizer import TextContext, Textualizer, per_user
    from segadmin.contracts.tracker import TrackedRun, Tracker, Tracking
    from segadmin.contracts.tuner import Tuner, TuningRun
    from segadmin.errors import (
        BackboneUnavailable,
        ConfigurationError,
        DataError,
        EngineUnavailable,
        FeedUnavailable,
        PluginContractError,
        SegadminError,
    )
    from segadmin.settings import Settings, get_settings
    from segadmin_api.client import AsyncClient, Client

_MODULES = {
    "AsyncClient": "segadmin_api.client",
    "Backbone": "segadmin.contracts.backbone",
    "BackboneUnavailable": "segadmin.errors",
    "Classifier": "segadmin.contracts.backbone",
    "Client": "segadmin_api.client",
    "ConfigurationError": "segadmin.errors",
    "DataError": "segadmin.errors",
    "Engine": "segadmin.contracts.engine",
    "EngineUnavailable": "segadmin.errors",
    "Examples": "segadmin.contracts.backbone",
    "Feed": "segadmin.contracts.feed",
    "FeedBatch": "segadmin.contracts.feed",
    "FeedUnavailable": "segadmin.errors",
    "FitContext": "segadmin.contracts.backbone",
    "ItemVectors": "segadmin.contracts.modality",
    "Labelled": "segadmin.contracts.labeler",
    "Labeler": "segadmin.contracts.labeler",
    "Modality": "segadmin.contracts.modality",
    "PluginContractError": "segadmin.errors",
    "Pretraining": "segadmin.contracts.backbone",
    "SavableModel": "segadmin.contracts.backbone",
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
    "UnlabelledUsers": "segadmin.contracts.backbone",
    "get_settings": "segadmin.settings",
    "hookimpl": "segadmin.contracts.hookspecs",
    "per_user": "segadmin.contracts.textualizer",
}

#: Former public names, which plugins may still use.
_DEPRECATED = {"Fit": "FitContext", "Learnt": "SavableModel"}

__all__ = [
    "AsyncClient",
    "Backbone",
    "BackboneUnavailable",
    "Classifier",
    "Client",
    "ConfigurationError",
    "DataError",
    "Engine",
    "EngineUnavailable",
    "Examples",
    "Feed",
    "FeedBatch",
    "FeedUnavailable",
    "FitContext",
    "ItemVectors",
    "Labeler",
    "Labelled",
    "Modality",
    "PluginContractError",
    "Pretraining",
    "SavableModel",
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
    "UnlabelledUsers",
    "get_settings",
    "hookimpl",
    "per_user",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562); a former name returns what replaced it, with a warning."""
    if name in _DEPRECATED:
        warnings.warn(f"segadmin.{name} is now segadmin.{_DEPRECATED[name]}", DeprecationWarning, stacklevel=2)
        name = _DEPRECATED[name]
    if name not in _MODULES:
        raise AttributeError(f"module 'segadmin' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
