"""The kinds of jobs: what each can be asked, and its stages in the order of the data.

The engine imports no kind: the package ``segadmin.workflows`` registers those that come with segadmin, and is loaded
by name when one is first looked up. Others register theirs before the worker starts.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import AliasChoices, BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from segadmin.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from sqlmodel import Session

    from segadmin.jobs.attempt import Attempt, StageResult
    from segadmin.settings import Settings
    from segadmin.storage.records import Job

Queue = Literal["cpu", "gpu"]


class Failed(Protocol):
    """SQL for the transaction in which a step failed for good; ``lost``: its processes died, without an error."""

    def __call__(self, session: Session, job: Job, *, lost: bool) -> None:
        """Run it."""


@dataclass(frozen=True)
class Option:
    """How a command line asks for a field of a request, where the field's name and type do not say it.

    Put it into the field's type: ``Annotated[tuple[str, ...], Option("baseline")]``.
    """

    name: str = ""  #: instead of the field's own, without ``--``; of a list or table, what one entry is called
    short: str = ""  #: a letter that stands for it
    metavar: str = ""  #: what the help shows in place of the value
    default: str = ""  #: what is taken where the field's default is ``None``, in words
    positional: bool = False  #: given without its name
    read: Callable[[Path], Any] | None = None  #: a file is given, from which this reads the value


class Request(BaseModel):
    """The options of one kind of job. Each kind subclasses it; the CLI and HTTP derive their options from it.

    A field's description is the option's help text. A field that was renamed keeps its old names as further
    ``validation_alias`` choices: options that are stored under them stay readable, and the command line goes on taking
    them without listing them.
    """

    #: Validators are built when a kind is first asked for: a command asks for one.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    #: Fields of a base class that this kind stores and does not use: the command line does not offer them.
    unused: ClassVar[frozenset[str]] = frozenset()
    #: Fields that forms show at once, besides the needed ones; the others are behind a summary. Empty: all at once.
    common: ClassVar[tuple[str, ...]] = ()

    def completed(self, settings: Settings) -> Self:
        """Return the request with what it leaves open filled in, checked against what is there; by default as it is.

        Only what SQL and the plugin registry know is looked at: it must be quick, and this machine may be one that
        only enqueues.

        Raises:
            SegadminError: something that it names is not there, or cannot be used.
        """
        return self

    @classmethod
    def offered(cls) -> dict[str, FieldInfo]:
        """Return the fields that can be asked for, by name, in the order of the options."""
        return {name: field for name, field in cls.model_fields.items() if name not in cls.unused}

    @classmethod
    def old_names(cls) -> dict[str, str]:
        """Return old name → field."""
        return {old: name for name, field in cls.model_fields.items() for old in _old_names(name, field)}


def option_of(field: FieldInfo) -> Option:
    """Return how a command line asks for ``field``."""
    return next((fact for fact in field.metadata if isinstance(fact, Option)), Option())


def _old_names(name: str, field: FieldInfo) -> Iterator[str]:
    if isinstance(field.validation_alias, AliasChoices):
        yield from (str(choice) for choice in field.validation_alias.choices if choice != name)


@dataclass(frozen=True)
class Stage:
    """One stage of a job: a function, where it runs, and what it reads from."""

    name: str
    run: Callable[[Attempt], StageResult]  #: imports what is heavy when it is called: enqueuing loads every plan
    queue: Queue = "cpu"
    after: tuple[str, ...] = ()  #: stages that must be done first
    per_buckets: bool = False  #: cut into several steps, each over a range of buckets
    parallel: str = ""  #: option of the job that says into how many equal steps it is cut; they share the work
    #: What the job must hold from here to its end, or to the stage that releases it: see :mod:`segadmin.jobs.locks`.
    holds: str = ""
    releases: str = ""  #: what of it the stages after this one do not need: another job may have it then
    may_fail: bool = False  #: the job goes on without it: the stages after it do what is asked for all the same
    failed: Failed | None = None  #: with ``may_fail``: what else is to be done if a step of it fails for good
    #: its time relative to the other stages', until jobs were measured: :mod:`segadmin.jobs.progress`
    cost: float = 1.0


@dataclass(frozen=True)
class Workflow:
    """One kind of job."""

    kind: str
    request: type[Request]
    stages: tuple[Stage, ...]
    summary: str = ""  #: what such a job does, in one sentence: the help text of ``segadmin enqueue KIND``
    is_offered: bool = True  #: people choose it; others are asked for by a command or a page of their own

    def stage(self, name: str) -> Stage:
        """Return the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def held_from(self, stage: str) -> list[str]:
        """Return what a job must hold when ``stage`` begins: what that stage and those before it ask for."""
        place = [each.name for each in self.stages].index(stage)
        released = {each.releases for each in self.stages[:place]}
        return [each.holds for each in self.stages[: place + 1] if each.holds and each.holds not in released]


_BUILT_IN = "segadmin.workflows"
#: Options of ``segadmin enqueue`` itself, whatever the kind.
RESERVED_OPTIONS = frozenset({"config", "print_config", "wait", "priority", "key", "estimate", "as_json"})
_registered: dict[str, Workflow] = {}


def register(workflow: Workflow) -> None:
    """Make a kind of job known to this process.

    Raises:
        ConfigurationError: the kind is registered already, or its stages do not fit together.
    """
    if workflow.kind in _registered:
        raise ConfigurationError(f"The job kind {workflow.kind!r} is registered already. Choose another name.")
    earlier: list[str] = []
    for stage in workflow.stages:
        if stage.name in earlier:
            raise ConfigurationError(f"The job kind {workflow.kind!r} has two stages called {stage.name!r}.")
        if unknown := [name for name in stage.after if name not in earlier]:
            raise ConfigurationError(
                f"The stage {stage.name!r} of {workflow.kind!r} comes after {unknown[0]!r}, which is no earlier stage."
            )
        earlier.append(stage.name)
    if reserved := sorted(RESERVED_OPTIONS & workflow.request.model_fields.keys()):
        raise ConfigurationError(f"The job kind {workflow.kind!r} has an option {reserved[0]!r}, which every kind has.")
    if not earlier:
        raise ConfigurationError(f"The job kind {workflow.kind!r} has no stages.")
    _registered[workflow.kind] = workflow


def workflows() -> dict[str, Workflow]:
    """Return every kind of job, by name."""
    importlib.import_module(_BUILT_IN)
    return _registered


def offered_kinds() -> list[str]:
    """Return the kinds of jobs that people choose from, in alphabetical order."""
    return sorted(kind for kind, workflow in workflows().items() if workflow.is_offered)


def workflow_of(kind: str) -> Workflow:
    """Return the workflow of a kind of job.

    Raises:
        ConfigurationError: there is no such kind.
    """
    known = workflows()
    if kind not in known:
        raise ConfigurationError(f"There is no job kind {kind!r}.{did_you_mean(kind, known)}")
    return known[kind]


def stage_names() -> tuple[str, ...]:
    """Return every stage name there is; each is a Celery task ``segadmin.<stage>``."""
    return tuple(dict.fromkeys(stage.name for workflow in workflows().values() for stage in workflow.stages))


def ranges_of(stage: Stage, options: Mapping[str, Any], buckets: int, fan_out: int) -> list[tuple[int, int]]:
    """Return what the steps of ``stage`` are cut by: ranges of buckets, numbers, or nothing (-1)."""
    if stage.per_buckets:
        return bucket_ranges(buckets, fan_out)
    return [(n, n) for n in range(options[stage.parallel])] if stage.parallel else [(-1, -1)]


def bucket_ranges(buckets: int, fan_out: int) -> list[tuple[int, int]]:
    """Cut ``buckets`` into at most ``fan_out`` ranges of almost equal length; both ends inclusive."""
    parts = min(buckets, fan_out)
    edges = [buckets * part // parts for part in range(parts + 1)]
    return [(start, end - 1) for start, end in itertools.pairwise(edges)]
