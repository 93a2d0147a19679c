"""The states of what the tables record."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"  #: saved; no step has started
    RUNNING = "running"  #: a step has started
    SUCCEEDED = "succeeded"  #: every step succeeded or was skipped, but for those of stages that may fail
    FAILED = "failed"  #: a step has no attempts left, or failed permanently
    CANCELLED = "cancelled"  #: somebody cancelled it

    @property
    def over(self) -> bool:
        """Whether the state is final unless the job is retried."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


class StepState(StrEnum):
    """The state of a step."""

    WAITING = "waiting"  #: earlier stages are not done
    READY = "ready"  #: can be claimed after ``not_before``
    RUNNING = "running"  #: claimed by the worker with ``token`` until ``lease_until``
    SUCCEEDED = "succeeded"  #: its ``result`` is valid
    FAILED = "failed"  #: no attempt is left, or the error is permanent
    CANCELLED = "cancelled"  #: its job was cancelled or failed before it finished
    SKIPPED = "skipped"  #: an earlier step decided that it is not needed

    @property
    def done(self) -> bool:
        """Whether later steps may start."""
        return self in {StepState.SUCCEEDED, StepState.SKIPPED}


class ModelState(StrEnum):
    """The role of a model version for its label set."""

    PRETRAINED = "pretrained"  #: trained on unlabelled texts only; a starting point for fine-tuning
    CANDIDATE = "candidate"  #: trained, not yet compared by the gate
    CHAMPION = "champion"  #: scores users
    CHALLENGER = "challenger"  #: kept for comparison; the gate did not promote it
    RETIRED = "retired"  #: was champion before


class CanaryState(StrEnum):
    """The state of a canary."""

    RUNNING = "running"  #: the challenger scores its share of the users
    PROMOTED = "promoted"  #: the challenger became champion
    STOPPED = "stopped"  #: the champion scores these users again


class ImportState(StrEnum):
    """The state of an import."""

    RUNNING = "running"  #: or interrupted if no process is importing, see :mod:`segadmin.events.interrupted`
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class SnapshotState(StrEnum):
    """Whether a snapshot may be read."""

    BUILDING = "building"  #: its assignments may be incomplete
    PUBLISHED = "published"  #: complete and immutable


class MergeState(StrEnum):
    """How far a merge of two users is."""

    MERGING = "merging"  #: or interrupted; the next import, merge, erasure or job completes it
    MERGED = "merged"
    UNDOING = "undoing"  #: or interrupted; completed like a merge
    UNDONE = "undone"
