"""The exceptions of segadmin.

::

    SegadminError
    ├── ConfigurationError
    │   ├── FeedNotFound
    │   ├── InvalidSettings
    │   ├── KeyNotFound
    │   ├── MappingNotFound
    │   ├── ModelNotFound
    │   ├── NameTaken
    │   ├── ScheduleNotFound
    │   └── SnapshotNotFound
    ├── DataError
    │   ├── CanaryNotFound
    │   ├── ImportNotFound
    │   ├── LabelSetNotFound
    │   ├── MergeNotFound
    │   ├── UploadNotFound
    │   ├── UploadTooLarge
    │   └── UserNotFound
    ├── PluginError
    │   ├── PluginNotFound
    │   ├── PluginLoadError
    │   └── PluginContractError
    ├── BackboneUnavailable
    ├── OutOfMemory
    ├── DeviceFailed
    ├── JobError
    │   ├── JobNotFound
    │   ├── InvalidTransition
    │   ├── KeyReused
    │   ├── Stale
    │   ├── StepFenced
    │   └── LimitExceeded
    ├── StorageError
    │   ├── ChangedMeanwhile
    │   ├── DatabaseDamaged
    │   ├── SchemaOutOfDate
    │   └── StoreMissing
    ├── BrokerUnavailable
    ├── ServerUnavailable
    ├── AccessRefused
    └── FeedUnavailable

Each message names the offending value and ends with the fix. An :class:`Interrupt` is no error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SegadminError(Exception):
    """The base class of all segadmin exceptions."""


class ConfigurationError(SegadminError):
    """A setting is missing or invalid."""


class InvalidSettings(ConfigurationError):
    """Settings are invalid; ``problems`` has a line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class FeedNotFound(ConfigurationError):
    """There is no such feed."""


class KeyNotFound(ConfigurationError):
    """There is no such key of the HTTP API."""


class MappingNotFound(ConfigurationError):
    """There is no such mapping."""


class ModelNotFound(ConfigurationError):
    """There is no such model version."""


class NameTaken(ConfigurationError):
    """There is something of this name already."""


class ScheduleNotFound(ConfigurationError):
    """There is no such schedule."""


class SnapshotNotFound(ConfigurationError):
    """There is no such published snapshot."""


class DataError(SegadminError):
    """Data as a whole cannot be used; a single bad row goes to quarantine instead."""


class CanaryNotFound(DataError):
    """There is no such canary."""


class ImportNotFound(DataError):
    """There is no such import."""


class LabelSetNotFound(DataError):
    """There is no such label set."""


class MergeNotFound(DataError):
    """There is no such merge of users."""


class UploadNotFound(DataError):
    """There is no such uploaded file."""


class UploadTooLarge(DataError):
    """A file is larger than an upload may be."""


class UserNotFound(DataError):
    """There is no such user."""


class PluginError(SegadminError):
    """A plugin failed; the message names the plugin and the hook or method."""


class PluginNotFound(PluginError):
    """No plugin registered that name."""


class PluginLoadError(PluginError):
    """A plugin could not be imported or registered."""


class PluginContractError(PluginError):
    """A plugin returned what its contract does not allow."""


class BackboneUnavailable(SegadminError):
    """A backbone's weights or libraries are not available on this machine."""


class EngineUnavailable(SegadminError):
    """An engine cannot compute a model, or not on this machine."""


class OutOfMemory(SegadminError):
    """A GPU or this machine has too little free memory at the moment; the step is retried later."""

    #: Factor on the usual wait before an attempt: memory is freed in minutes, not seconds.
    backoff_factor = 12


class DeviceFailed(SegadminError):
    """A GPU failed or is gone; the step is retried, by a new process."""


class JobError(SegadminError):
    """A job cannot do what was requested."""


class JobNotFound(JobError):
    """There is no such job."""


class InvalidTransition(JobError):
    """The job is in a state that does not allow this."""


class KeyReused(JobError):
    """An idempotency key belongs to a different request."""


class Stale(JobError):
    """Something is to be changed that is no longer as it was read."""


class StepFenced(JobError):
    """This attempt no longer owns its step and must stop without writing."""


class LimitExceeded(JobError):
    """A step exceeded its limit of time or memory."""


class StorageError(SegadminError):
    """The database or the lake cannot be read or written."""


class ChangedMeanwhile(StorageError):
    """Somebody else changed the same at the same time; nothing was written, and it can be tried again."""


class DatabaseDamaged(StorageError):
    """The database's file is damaged; nothing is read or written until it is restored."""


class SchemaOutOfDate(StorageError):
    """The database schema belongs to another version of segadmin."""


class StoreMissing(StorageError):
    """The imported data is not in the store's folder. A disk may not be mounted, so steps are retried."""


class BrokerUnavailable(SegadminError):
    """The broker cannot be reached."""


class ServerUnavailable(SegadminError):
    """A server of the HTTP API does not answer, or cannot do anything at the moment."""


class AccessRefused(SegadminError):
    """A server of the HTTP API knows no such key, or the key does not give access."""


class Interrupt(BaseException):
    """Ends work from outside, and says nothing about the code that was running; not to be caught by it."""


#: What is never the error of the code that it is raised in.
INTERRUPTS = (KeyboardInterrupt, Interrupt)


class FeedUnavailable(SegadminError):
    """The receiver of a feed does not take records; they are delivered again later."""


#: Errors that recur with the same input, so a retry cannot succeed.
PERMANENT = (ConfigurationError, DataError, PluginError, BackboneUnavailable, SchemaOutOfDate, LimitExceeded)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` if ``name`` resembles a known name, else the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" There are: {', '.join(names)}." if names else ""
