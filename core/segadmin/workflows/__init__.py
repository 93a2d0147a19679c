"""What each kind of job does: its request, its plan, and its stages.

Importing this package registers them with the engine.
"""

from segadmin.workflows import data, deliver, export, pretrain, profile, retrain, scoring, textualize, tune, uploads

__all__ = [
    "data",
    "deliver",
    "export",
    "pretrain",
    "profile",
    "retrain",
    "scoring",
    "textualize",
    "tune",
    "uploads",
]
