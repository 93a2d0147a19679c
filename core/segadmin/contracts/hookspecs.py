"""Every hook that a plugin can implement.

A ``register_…`` hook returns a list. An entry is a class, or a string ``"name = module:Class"`` that is imported
only when the name is used, which keeps commands fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from segadmin.contracts.backbone import Backbone
    from segadmin.contracts.engine import Engine
    from segadmin.contracts.feed import Feed
    from segadmin.contracts.labeler import Labeler
    from segadmin.contracts.modality import Modality
    from segadmin.contracts.source import Sink, Source
    from segadmin.contracts.textualizer import Textualizer
    from segadmin.contracts.tracker import Tracker
    from segadmin.contracts.tuner import Tuner
    from segadmin.storage.records import DriftReport, Job, ModelVersion, Schedule, SegmentSnapshot

hookspec = pluggy.HookspecMarker("segadmin")
hookimpl = pluggy.HookimplMarker("segadmin")


@hookspec
def register_textualizers() -> list[type[Textualizer] | str]:  # type: ignore[empty-body]
    """Return textualizers, for ``--textualizer``."""


@hookspec
def register_backbones() -> list[type[Backbone] | str]:  # type: ignore[empty-body]
    """Return backbones, for ``--backbone``."""


@hookspec
def register_tuners() -> list[type[Tuner] | str]:  # type: ignore[empty-body]
    """Return tuners, for ``--backbone-option tuner=…``."""


@hookspec
def register_engines() -> list[type[Engine] | str]:  # type: ignore[empty-body]
    """Return engines, for ``SEGADMIN_ENGINE``; with ``auto`` all of them are tried."""


@hookspec
def register_trackers() -> list[type[Tracker] | str]:  # type: ignore[empty-body]
    """Return trackers, for ``--tracker``."""


@hookspec
def register_labelers() -> list[type[Labeler] | str]:  # type: ignore[empty-body]
    """Return labelers, for ``segadmin data label --labeler``."""


@hookspec
def register_modalities() -> list[type[Modality] | str]:  # type: ignore[empty-body]
    """Return modalities, for ``--modality``: they turn vectors of items into words."""


@hookspec
def register_sources() -> list[type[Source] | str]:  # type: ignore[empty-body]
    """Return sources, for ``segadmin data import --source``."""


@hookspec
def register_sinks() -> list[type[Sink] | str]:  # type: ignore[empty-body]
    """Return sinks, for ``segadmin snapshots export --sink``."""


@hookspec
def register_feeds() -> list[type[Feed] | str]:  # type: ignore[empty-body]
    """Return feeds, for ``segadmin feeds add``: they receive who entered, left or moved between segments."""


@hookspec
def job_finished(job: Job) -> None:
    """A job ended in the state ``job.state``. Called by the worker that finished it."""


@hookspec
def model_promoted(version: ModelVersion) -> None:
    """A model version became champion of its label set."""


@hookspec
def snapshot_published(snapshot: SegmentSnapshot) -> None:
    """A snapshot became the current one of its label set."""


@hookspec
def drift_detected(report: DriftReport) -> None:
    """A snapshot was published, and its report has alarms: drift, missing events, or outcomes unlike the estimate."""


@hookspec
def freshness_missed(schedule: Schedule, seconds: float, cause: str) -> None:
    """Events wait, or waited, for ``seconds``, longer than the freshness objective of the schedule. Called by beat."""
