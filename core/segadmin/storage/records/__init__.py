"""The SQL tables: the source of truth, from which files, messages and Delta tables follow.

Importing this package declares all of them, which migrations and new stores rely on.
"""

from segadmin.storage.records.access import ROLES, ApiKey, Audit, Scope
from segadmin.storage.records.columns import Json, MaskedText, UtcDateTime, utcnow
from segadmin.storage.records.data import Import, LabelSet, QuarantinedMessage, SavedMapping, Store, UserMerge
from segadmin.storage.records.jobs import Job, Lock, MissedSlots, Schedule, Step
from segadmin.storage.records.models import Canary, Evaluation, ModelVersion
from segadmin.storage.records.snapshots import (
    CORRECT_KIND,
    MAX_DESCRIPTION,
    MAX_OWNER,
    MAX_REASON,
    MAX_WEIGHT,
    NOT_ENOUGH,
    PROBABILITY_BINS,
    ConfiguredFeed,
    Correction,
    Current,
    DriftReport,
    SegmentDescription,
    SegmentProfileRow,
    SegmentSnapshot,
    SegmentSummary,
    SnapshotSwitch,
)
from segadmin.storage.records.states import (
    CanaryState,
    ImportState,
    JobState,
    MergeState,
    ModelState,
    SnapshotState,
    StepState,
)

__all__ = [
    "CORRECT_KIND",
    "MAX_DESCRIPTION",
    "MAX_OWNER",
    "MAX_REASON",
    "MAX_WEIGHT",
    "NOT_ENOUGH",
    "PROBABILITY_BINS",
    "ROLES",
    "ApiKey",
    "Audit",
    "Canary",
    "CanaryState",
    "ConfiguredFeed",
    "Correction",
    "Current",
    "DriftReport",
    "Evaluation",
    "Import",
    "ImportState",
    "Job",
    "JobState",
    "Json",
    "LabelSet",
    "Lock",
    "MaskedText",
    "MergeState",
    "MissedSlots",
    "ModelState",
    "ModelVersion",
    "QuarantinedMessage",
    "SavedMapping",
    "Schedule",
    "Scope",
    "SegmentDescription",
    "SegmentProfileRow",
    "SegmentSnapshot",
    "SegmentSummary",
    "SnapshotState",
    "SnapshotSwitch",
    "Step",
    "StepState",
    "Store",
    "UserMerge",
    "UtcDateTime",
    "utcnow",
]
