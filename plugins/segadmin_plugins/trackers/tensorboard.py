"""TensorBoard: event files, one folder per job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from segadmin.contracts.tracker import TrackedRun, Tracker, Tracking


@dataclass(frozen=True)
class TensorBoard(Tracker):
    """Scalars for TensorBoard, under ``SEGADMIN_HOME/trackers/tensorboard/job-N``."""

    name: ClassVar[str] = "tensorboard"
    requires: ClassVar[tuple[str, ...]] = ("torch", "tensorboard")
    brought_by: ClassVar[str] = "segadmin[tensorboard]"

    def start(self, run: TrackedRun) -> Tracking:
        """Open the folder of the job, which its attempts share."""
        return _Events(run)

    def add(self, run: TrackedRun, key: str, figures: Mapping[str, float]) -> None:
        """Add metrics to the folder of the job."""
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(run.folder / key)) as writer:
            for name, value in figures.items():
                writer.add_scalar(name, value)


class _Events(Tracking):
    def __init__(self, run: TrackedRun) -> None:
        self.key = f"job-{run.job_id}"
        self._run, self._folder = run, run.folder / self.key
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer: Any = None
        self._last = 0
        self.where = f"tensorboard --logdir {run.folder}"

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        writer = self._opened(step)
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()
        self._last = step

    def finish(self, figures: Mapping[str, float]) -> None:
        writer = self._opened(self._last)
        for name, value in figures.items():
            writer.add_scalar(f"final/{name}", value, self._last)
        writer.close()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _opened(self, step: int) -> Any:
        """Return the writer. What an earlier attempt wrote from ``step`` on is purged."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
            config = json.dumps(dict(self._run.config), indent=2, ensure_ascii=False)
            self._writer.add_text("config", f"```json\n{config}\n```", step)
        return self._writer
