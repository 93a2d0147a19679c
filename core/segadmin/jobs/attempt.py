"""An attempt: one worker's hold on one step, and all that a stage function may use."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from segadmin import failpoints
from segadmin.errors import SegadminError, StepFenced, StorageError
from segadmin.files import file_digest, inside, put
from segadmin.jobs.peak_memory import PeakMemory
from segadmin.learning_curve import Curve, Points
from segadmin.settings import Settings
from segadmin.storage.store import check_known

if TYPE_CHECKING:
    import polars as pl
    from sqlmodel import Session

    from segadmin.jobs.dispatch import StepMessage

Json = dict[str, Any]
#: Rows of a row group of step outputs: who reads some buckets of a file skips the row groups of the others.
_ROW_GROUP = 16_384


class StepFile(BaseModel):
    """A table that a step wrote, as later stages find it."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    path: str  #: relative to the store
    sha256: str
    rows: int


class StageOutput(BaseModel):
    """What a stage found out: kept as JSON on its step, and read by the stages after it.

    A subclass is of one stage, or of several that write the same. Where its fields change, ``version`` goes up and
    :meth:`upgraded` reads what was written before: a job may be under way while segadmin is updated.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    stage: ClassVar[str]  #: the stage that writes it
    current_version: ClassVar[int] = 1

    version: int = 0

    @classmethod
    def upgraded(cls, written: Json) -> Json:
        """Return what an earlier version wrote in the form of this one; by default nothing is different."""
        return written

    @classmethod
    def read(cls, written: Json) -> Self:
        """Return what a step has as its result.

        Raises:
            StorageError: a newer segadmin wrote it, or it is not a result of this stage.
        """
        version = written.get("version", 0)
        if not isinstance(version, int) or version > cls.current_version:
            raise StorageError(
                f"The result of the stage {cls.stage!r} has version {version!r}; this segadmin reads up to "
                f"{cls.current_version}. Update the workers, or: segadmin jobs retry JOB --from-start"
            )
        try:
            return cls.model_validate(written if version == cls.current_version else cls.upgraded(written))
        except (KeyError, TypeError, AttributeError, ValidationError) as error:
            raise StorageError(
                f"The result of the stage {cls.stage!r} cannot be read ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}). Make it again: segadmin jobs retry JOB --from-start"
            ) from None

    def as_json(self) -> Json:
        """Return what the step keeps."""
        return self.model_dump(mode="json") | {"version": self.current_version}


Output = TypeVar("Output", bound=StageOutput)


@dataclass(frozen=True)
class StageResult:
    """What a stage function returns."""

    output: StageOutput | None = None
    #: SQL to run in the very transaction that finishes the step: it happens if and only if this attempt counts.
    #: What it returns (new row ids, say) is added to what the step keeps of ``output``.
    commit: Callable[[Session], Json] | None = None
    #: Of jobs that ``commit`` enqueues, which adds them: sent once that is committed.
    messages: list[StepMessage] = field(default_factory=list)
    after: Callable[[], None] | None = None  #: called once that is committed: lifecycle hooks of plugins
    skip: tuple[str, ...] = ()  #: stages of this job that are not needed any more

    @property
    def result(self) -> Json:
        """What is kept on the step, JSON only."""
        return self.output.as_json() if self.output else {}


@dataclass
class Attempt:
    """One worker's hold on one step."""

    settings: Settings
    job_id: int
    job_kind: str
    options: Json  #: of the job
    step_id: int
    stage: str
    buckets: range  #: empty where the stage is not cut by buckets
    number: int  #: 1 for the first attempt
    token: int  #: the fencing token
    inputs: Mapping[str, list[Json]] = field(default_factory=dict)  #: results by stage, in bucket order
    lost: Event = field(default_factory=Event)  #: set when somebody else owns the step
    broken: SegadminError | None = None  #: the database is damaged, or the store is gone, and the step has to stop
    #: On the monotonic clock: from then on somebody else may own the step, whatever is known here.
    lease_until: float = math.inf
    calling: str = ""  #: the plugin method that runs now, such as ``fit of the backbone 'hf' of segadmin 0.1.0``
    curve: Curve = field(default_factory=Curve)  #: of its fit, with what earlier attempts logged
    memory: PeakMemory | None = None  #: of its process, while the body runs and from then on
    _progress: tuple[float, str] = (0.0, "")
    _lock: Lock = field(default_factory=Lock)

    def output(self, kind: type[Output]) -> Output:
        """Return what a stage of one step found out."""
        return kind.read(self.inputs[kind.stage][0])

    def outputs(self, kind: type[Output]) -> list[Output]:
        """Return what every step of a stage found out, in bucket order."""
        return [kind.read(written) for written in self.inputs[kind.stage]]

    def progress(self, fraction: float, note: str = "") -> None:
        """Say how far the work is (0 to 1) and what it is doing; the heartbeat carries it to SQL.

        Raises:
            StepFenced: the step was cancelled or given to somebody else: stop now.
            SegadminError: :attr:`broken`.
        """
        if self.broken is not None:
            raise self.broken
        if self.lost.is_set() or time.monotonic() > self.lease_until:
            raise StepFenced(f"attempt {self.number} of step {self.step_id} no longer owns it")
        with self._lock:
            self._progress = (min(max(fraction, 0.0), 1.0), note or self._progress[1])

    def reach(self, place: str) -> None:
        """Come by a failpoint: see :mod:`segadmin.failpoints`."""
        failpoints.reach(
            place, f"{self.stage}-{self.buckets.start}" if self.buckets else self.stage, first=self.token == 1
        )

    @property
    def latest(self) -> tuple[float, str]:
        """The last progress reported."""
        with self._lock:
            return self._progress

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a point to the curve of the running fit; the heartbeat carries it to SQL."""
        with self._lock:
            self.curve.add(step, figures)

    @property
    def points(self) -> Points:
        """The points of the curve so far."""
        with self._lock:
            return self.curve.points

    @property
    def measured(self) -> Json:
        """What is written of the running body besides its progress, as columns of the step."""
        points = self.points
        memory = {"memory_bytes": self.memory.look()} if self.memory else {}
        return memory | ({"curve": points} if points else {})

    @property
    def folder(self) -> Path:
        """A folder of this attempt alone, under the store: a fenced attempt can spoil nobody's output.

        Raises:
            SegadminError: the store is gone; see :func:`segadmin.storage.store.check_known`.
        """
        return self._made(self._job_folder / f"{self.stage}-{self.step_id}" / f"attempt-{self.number}-{self.token}")

    @property
    def checkpoints(self) -> Path:
        """A folder that the attempts of this step share, for work that can go on where it was left.

        Raises:
            SegadminError: as :attr:`folder`.
        """
        return self._made(self._checkpoints)

    def _made(self, folder: Path) -> Path:
        check_known(self.settings)  # a folder in the place of a store that is not mounted would be lost
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_checkpoints(self) -> None:
        """Remove what only a further attempt would have needed."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    @property
    def _checkpoints(self) -> Path:
        return self._job_folder / f"{self.stage}-{self.step_id}" / "checkpoints"

    @property
    def _job_folder(self) -> Path:
        return self.settings.store_path / "work" / f"job-{self.job_id}"

    def write(self, frame: pl.DataFrame, name: str) -> StepFile:
        """Write ``frame`` as Parquet and return where it is.

        The file appears under its final name, which holds its digest, complete and on disk, or not at all.
        """
        draft = self.folder / f".{name}.parquet"
        frame.write_parquet(draft, compression="zstd", row_group_size=_ROW_GROUP)
        self.reach("write")
        digest = file_digest(draft)
        path = self.folder / f"{name}-{digest[:12]}.parquet"
        put(draft, path)
        return StepFile(path=str(path.relative_to(self.settings.store_path)), sha256=digest, rows=frame.height)

    def read(self, written: StepFile) -> pl.DataFrame:
        """Read what :meth:`write` wrote, in whichever attempt.

        Raises:
            StorageError: the file is gone or is not what was written.
        """
        return self.scan(written).collect()

    def scan(self, written: StepFile) -> pl.LazyFrame:
        """Return what :meth:`write` wrote, checked now and to be read later.

        Raises:
            StorageError: the file is gone or is not what was written.
        """
        import polars as pl

        path = inside(self.settings.store_path, written.path)
        if not path.exists() or file_digest(path) != written.sha256:
            state = "has other content than was written" if path.exists() else "is gone"
            raise StorageError(f"The step output {path} {state}. Run: segadmin jobs retry {self.job_id}")
        return pl.scan_parquet(path, glob=False)
