"""Weights & Biases: its service, or a folder to be sent there later."""

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
        """Begin a run; those of one job are one group."""
        return _Run(self._init(run, name=run.name, group=f"job-{run.job_id}", config=dict(run.config)))

    def add(self, run: TrackedRun, key: str, figures: Mapping[str, float]) -> None:
        """Go on with the run; without its service that is one more folder for ``wandb sync``."""
        again = self._init(run, id=key, resume="allow")
        again.summary.update(figures)
        _end(again, 0)

    def _init(self, run: TrackedRun, **more: Any) -> Any:
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        known: Any = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        return wandb.init(
            project=self.project or os.environ.get("WANDB_PROJECT") or "segadmin",
            entity=self.entity or None,
            dir=str(run.folder),
            mode=self.mode or known,
            reinit="create_new",
            # Only what is logged: not what else runs on this machine, nor its code.
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
        # What is added later gets a folder of its own, which also has the name of the run in its own.
        kept = f"{Path(run.settings.sync_dir).parent}/offline-run-*-{run.id}*"
        self.where = f"wandb sync {kept}" if run.offline else str(run.url)
        run.define_metric("*", step_metric="fit_step")  # a fit that goes on from a checkpoint may go back

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
    wandb.teardown()  # its own process, which would stay as long as the worker does
