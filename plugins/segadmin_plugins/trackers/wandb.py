"""Weights & Biases: its service, or a folder for a later sync."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from segadmin.contracts.tracker import TrackedRun, Tracker, Tracking


@dataclass(frozen=True)
class Wandb(Tracker):
    """Runs for Weights & Biases; without ``WANDB_API_KEY`` they stay under ``SEGADMIN_HOME/trackers/wandb``."""

    name: ClassVar[str] = "wandb"
    requires: ClassVar[tuple[str, ...]] = ("wandb",)
    brought_by: ClassVar[str] = "segadmin[wandb]"
    project: str = ""  #: default: ``WANDB_PROJECT``, else ``segadmin``
    entity: str = ""
    mode: Literal["", "online", "offline"] = ""  #: default: ``WANDB_MODE``, else online where there is an API key

    def start(self, run: TrackedRun) -> Tracking:
        """Begin a run; the runs of one job form a group."""
        return _Run(self._init(run, name=run.name, group=f"job-{run.job_id}", config=dict(run.config)))

    def add(self, run: TrackedRun, key: str, figures: Mapping[str, float]) -> None:
        """Resume the run; offline this creates one more folder for ``wandb sync``."""
        resumed = self._init(run, id=key, resume="allow")
        resumed.summary.update(figures)
        _end(resumed, 0)

    def _init(self, run: TrackedRun, **more: Any) -> Any:
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        default_mode: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        return wandb.init(
            project=self.project or os.environ.get("WANDB_PROJECT") or "segadmin",
            entity=self.entity or None,
            dir=str(run.folder),
            mode=self.mode or default_mode,
            reinit="create_new",
            # Send only what is logged: no system metrics, no code.
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                save_code=False,
                init_timeout=30,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
            **more,
        )


class _Run(Tracking):
    def __init__(self, run: Any) -> None:
        self._run, self.key = run, run.id
        # Metrics added later go to another folder, whose name also contains the id of the run.
        pattern = f"{Path(run.settings.sync_dir).parent}/offline-run-*-{run.id}*"
        self.where = f"wandb sync {pattern}" if run.offline else str(run.url)
        run.define_metric("*", step_metric="fit_step")  # a fit resumed from a checkpoint may repeat steps

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log({**figures, "fit_step": step})

    def finish(self, figures: Mapping[str, float]) -> None:
        self._run.summary.update({f"final/{name}": value for name, value in figures.items()})
        _end(self._run, 0)

    def abandon(self) -> None:
        _end(self._run, 1)


def _end(run: Any, code: int) -> None:
    import wandb

    run.finish(exit_code=code)
    wandb.teardown()  # ends its service process, which would run as long as the worker
