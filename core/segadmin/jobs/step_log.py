"""The log of each step: its last few hundred lines, in a file beside its outputs.

Each line is written when it is logged, so that a killed process loses none. The files are in the folder of the job
under ``work``, which all workers and the web service share, and which an erasure of users deletes. Those of the latest
jobs are kept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sqlmodel import col, select

from segadmin.errors import JobNotFound, SegadminError
from segadmin.jobs.attempt import Attempt
from segadmin.log_masking import MaskingFilter
from segadmin.logs import OF_A_STEP, ContextFilter, JsonFormatter
from segadmin.settings import Settings
from segadmin.storage.database import is_row_number, reading
from segadmin.storage.records import Job, Step

#: Lines that are kept at least, and those that are returned at most.
KEPT, MOST = 300, 1_000
#: Jobs whose logs are kept, and how many numbers in a row may be of jobs that none began.
KEPT_JOBS, _GAP = 10_000, 20
#: Characters of a message or a traceback.
_LONGEST = 4_000
_CURRENT, _BEFORE = "log.jsonl", "log.before.jsonl"
#: What a line says in fields of its own, or is known from where it is.
_STANDARD = {"time", "level", "logger", "message", "error", *OF_A_STEP} - {"action"}


@dataclass(frozen=True)
class LogLine:
    """One line of the log of a step."""

    step: int
    stage: str
    attempt: int
    time: datetime
    level: str
    logger: str
    message: str
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""  #: a traceback


@contextmanager
def kept_log(attempt: Attempt) -> Iterator[None]:
    """Keep what is logged in the body; where that fails, the step goes on without."""
    handler, root = _StepHandler(attempt), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _StepHandler(logging.Handler):
    """Writes the lines of one attempt, and of libraries that log in threads of their own while it runs."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__()
        self._attempt, self._lines, self._is_broken = attempt, 0, False
        self._file: IO[str] | None = None
        self.setFormatter(JsonFormatter())
        for each in (MaskingFilter(), ContextFilter(), self._is_ours):
            self.addFilter(each)

    def _is_ours(self, record: logging.LogRecord) -> bool:
        return getattr(record, "step", self._attempt.step_id) == self._attempt.step_id

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        if self._is_broken:
            return
        try:
            self._open().write(_shortened(self.format(record)) + "\n")
            self._lines += 1
        except (OSError, ValueError, SegadminError):  # a full disk, say: the step itself will say so
            self._is_broken = True

    def _open(self) -> IO[str]:
        """Return the file of the next line: after some hundred lines, it is a new one."""
        if self._file is None or self._lines >= KEPT:
            if self._file is None:
                _drop_old(self._attempt)
            path = self._attempt.folder / _CURRENT
            if self._file is not None:
                self._file.close()
                path.replace(path.with_name(_BEFORE))
            self._file, self._lines = path.open("a", encoding="utf-8", buffering=1), 0
        return self._file

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        super().close()


def _drop_old(attempt: Attempt) -> None:
    """Delete the logs of a job of long ago when a new job begins, so that their number does not grow."""
    if _job_folder(attempt.settings, attempt.job_id).exists():
        return
    newest = attempt.job_id - KEPT_JOBS
    for number in range(max(newest - _GAP, 1), newest + 1):
        for path in _job_folder(attempt.settings, number).glob("*/attempt-*/log*.jsonl"):
            path.unlink(missing_ok=True)


def _job_folder(settings: Settings, job_id: int) -> Path:
    return settings.store_path / "work" / f"job-{job_id}"


def log_lines(
    settings: Settings, job_id: int, *, step: int | None = None, stage: str | None = None, limit: int = KEPT
) -> list[LogLine]:
    """Return the last lines of a job's steps, oldest first.

    Args:
        settings: location of the store.
        job_id: the job.
        step: only those of this step.
        stage: only those of the steps of this stage.
        limit: the highest number of lines, up to :data:`MOST`.

    Raises:
        JobNotFound: there is no such job, or it has no such step or stage.
    """
    stages = _stages(settings, job_id, step, stage)
    folder = _job_folder(settings, job_id)
    lines = [
        line
        for number, name in stages.items()
        for path in (folder / f"{name}-{number}").glob("attempt-*/log*.jsonl")
        for line in _read(path, number, name)
    ]
    return sorted(lines, key=lambda line: (line.time, line.step))[-min(limit, MOST) :]


def _stages(settings: Settings, job_id: int, step: int | None, stage: str | None) -> dict[int, str]:
    """Return step → stage of the steps that are asked for."""
    with reading(settings) as session:
        if not is_row_number(job_id) or session.get(Job, job_id) is None:
            raise JobNotFound(f"There is no job {job_id}. List them: segadmin jobs list")
        query = select(Step.id, Step.stage).where(Step.job_id == job_id).order_by(col(Step.id))
        steps = {number or 0: name for number, name in session.exec(query).all()}
    if step is not None and step not in steps:
        raise JobNotFound(f"Job {job_id} has no step {step}. See its steps: segadmin jobs show {job_id}")
    if stage is not None and stage not in steps.values():
        raise JobNotFound(f"Job {job_id} has no stage {stage!r}. See its stages: segadmin jobs show {job_id}")
    return {
        number: name
        for number, name in steps.items()
        if (step is None or number == step) and (stage is None or name == stage)
    }


def _read(path: Path, step: int, stage: str) -> Iterator[LogLine]:
    """Yield the lines of a file; the last one may be half, if its process was killed."""
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:  # an erasure has just deleted it
        return
    for text in texts:
        try:
            facts = json.loads(text)
            known = LogLine(
                step,
                stage,
                int(facts.get("attempt", 1)),
                datetime.fromisoformat(facts["time"]),
                str(facts["level"]),
                str(facts["logger"]),
                str(facts["message"]),
                {name: value for name, value in facts.items() if name not in _STANDARD},
                str(facts.get("error", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        yield known


def _shortened(line: str) -> str:
    """Return a line with what is too long cut; ``line`` is JSON."""
    if len(line) <= _LONGEST:
        return line
    facts = json.loads(line)
    for name, value in facts.items():
        if isinstance(value, str) and len(value) > _LONGEST // 2:
            facts[name] = f"{value[: _LONGEST // 4]} … {value[-_LONGEST // 4 :]}"
    return json.dumps(facts, ensure_ascii=False)
