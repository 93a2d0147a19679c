"""Everything segadmin raises on purpose.

::

    SegadminError
    ├── ConfigurationError
    │   ├── InvalidSettings
    │   └── ModelNotFound
    ├── DataError
    ├── PluginError
    │   ├── PluginNotFound
    │   ├── PluginLoadError
    │   └── PluginContractError
    ├── BackboneUnavailable
    ├── OutOfMemory
    ├── JobError
    │   ├── JobNotFound
    │   ├── InvalidTransition
    │   ├── KeyReused
    │   ├── StepFenced
    │   └── LimitExceeded
    ├── StorageError
    │   ├── SchemaOutOfDate
    │   └── StoreMissing
    └── BrokerUnavailable

Each message names the offending value and ends with what mends it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SegadminError(Exception):
    """The root of the tree: catch this to catch all of it."""


class ConfigurationError(SegadminError):
    """A setting is missing or cannot be used."""


class InvalidSettings(ConfigurationError):
    """Settings cannot be used; ``problems`` has a line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ModelNotFound(ConfigurationError):
    """There is no such model version."""


class DataError(SegadminError):
    """Data as a whole cannot be used; a single bad row goes to quarantine instead."""


class PluginError(SegadminError):
    """A plugin failed; the message names the plugin and the hook or method."""


class PluginNotFound(PluginError):
    """No plugin registered that name."""


class PluginLoadError(PluginError):
    """A plugin could not be imported or registered."""


class PluginContractError(PluginError):
    """A plugin returned what its contract does not allow."""


class BackboneUnavailable(SegadminError):
    """A backbone's weights or libraries cannot be had on this machine."""


class OutOfMemory(SegadminError):
    """A GPU or this machine has too little free memory at the moment: the step is tried again later."""

    #: Whoever holds the memory needs minutes, not seconds: so many times the usual wait goes by before each attempt.
    backoff_factor = 12


class JobError(SegadminError):
    """A job cannot do what was asked."""


class JobNotFound(JobError):
    """There is no such job."""


class InvalidTransition(JobError):
    """The job is in a state that does not allow this."""


class KeyReused(JobError):
    """An idempotency key belongs to a job that was asked for something else."""


class StepFenced(JobError):
    """This attempt no longer owns its step: stop, write nothing more."""


class LimitExceeded(JobError):
    """A step took more time or memory than it may."""


class StorageError(SegadminError):
    """The database or the lake cannot be read or written."""


class SchemaOutOfDate(StorageError):
    """The database was made by another version of segadmin."""


class StoreMissing(StorageError):
    """The store's folder does not hold what was imported; a disk may not be mounted, so a step is tried again."""


class BrokerUnavailable(SegadminError):
    """The broker does not answer."""


#: Errors that the same input brings every time: a retry cannot mend them.
PERMANENT = (ConfigurationError, DataError, PluginError, BackboneUnavailable, SchemaOutOfDate, LimitExceeded)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for a near miss, else the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" There are: {', '.join(known)}." if known else ""
