"""Fitting in several processes, one per GPU or on the CPU, which share every batch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segadmin import errors
from segadmin.errors import ConfigurationError

if TYPE_CHECKING:
    from segadmin.contracts.backbone import Examples, FitContext
    from segadmin_plugins.backbones.transformer.classifier import TransformerClassifier
    from segadmin_plugins.backbones.transformer.options import TrainingOptions

_MODULE = "segadmin_plugins.backbones.transformer.distributed"
#: The settings that a fit reads; no secrets.
_SETTINGS = {"home", "weights", "language", "plugins_disabled", "plugins_allowed", "plugin_files"}
_PATIENCE = 5.0  #: seconds that processes have to end after SIGTERM
_LINES = 20  #: lines of a failed process's stderr


def count_processes(options: TrainingOptions) -> int:
    """Return the number of processes to fit in: :attr:`TrainingOptions.processes`, where 0 means one per GPU.

    Raises:
        ConfigurationError: there are not so many GPUs, or the batch cannot be shared among them.
    """
    import torch

    gpus = torch.cuda.device_count()
    processes = options.processes or max(gpus, 1)
    if processes > 1 and torch.cuda.is_available() and processes > gpus:
        there = "is 1 GPU" if gpus == 1 else f"are {gpus} GPUs"
        raise ConfigurationError(f"processes={processes}, but there {there}. Use processes=0: one per GPU.")
    if options.batch_size % processes:
        raise ConfigurationError(
            f"batch_size={options.batch_size} cannot be shared by {processes} processes. "
            f"Try --backbone-option batch_size={-(-options.batch_size // processes) * processes}"
        )
    return processes


def fit_in_processes(
    options: TrainingOptions,
    processes: int,
    train: Examples,
    validation: Examples,
    run: FitContext,
    *,
    load: Callable[[Path], TransformerClassifier],
) -> TransformerClassifier:
    """Return the classifier that ``processes`` processes have fitted, read by ``load``; they report to ``run``.

    Raises:
        RuntimeError: one of them failed with another error; the message has its last lines.
        SegadminError: one of them failed with this error.
        OutOfMemory: the memory is too small for one user in each process.
    """
    from segadmin_plugins.backbones.transformer.batch_size import with_fitting_batches

    def fit(reduced: TrainingOptions) -> TransformerClassifier:
        return _fit_once(replace(reduced, processes=1), processes, train, validation, run, load=load)

    fitted, rows = with_fitting_batches(options, fit, run, least=processes)
    fitted.report |= {"batch_size_asked": options.batch_size} if rows < options.batch_size else {}
    return fitted


def _fit_once(
    options: TrainingOptions,
    processes: int,
    train: Examples,
    validation: Examples,
    run: FitContext,
    *,
    load: Callable[[Path], TransformerClassifier],
) -> TransformerClassifier:
    folder = run.checkpoints / "processes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        _write_request(folder, options, train, validation, run)
        with (folder / "stderr").open("wb") as stderr, _launched(folder, processes, stderr) as child:
            assert child.stdout is not None
            for line in child.stdout:
                _forward(line, run)
            failed = child.wait()
        if failed:
            raise _failure(folder)
        return load(folder / "saved")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_request(
    folder: Path, options: TrainingOptions, train: Examples, validation: Examples, run: FitContext
) -> None:
    parts = {"train": train, "validation": validation}
    parts |= {f"also-{n}": examples for n, examples in enumerate(run.also.values())}
    for name, examples in parts.items():
        examples.frame.write_parquet(folder / f"{name}.parquet")
    request: dict[str, Any] = {
        "backbone": options.name,
        "options": asdict(options),
        "settings": run.settings.model_dump(mode="json", include=_SETTINGS),
        "checkpoints": str(run.checkpoints),
        "seed": run.seed,
        "start": str(run.start) if run.start else None,
        "update": run.update,
        "also": list(run.also),
        "examples": {name: [examples.segments, examples.feature_names] for name, examples in parts.items()},
    }
    (folder / "request.json").write_text(json.dumps(request, ensure_ascii=False), encoding="utf-8")


@contextmanager
def _launched(folder: Path, processes: int, stderr: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the processes as accelerate does, and end those that still run at the end."""
    import torch

    from segadmin_plugins.backbones.requirements import threads

    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, threads() // processes))}
    if not torch.cuda.is_available():
        environment |= {"ACCELERATE_USE_CPU": "true"}
        if sys.platform == "linux":
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Port 0 is a free port; all processes run on this machine, whatever its name.
    rendezvous = [
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--rdzv-conf=is_host=1",
        "--local-addr=127.0.0.1",
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=1",
        f"--nproc-per-node={processes}",
        *rendezvous,
    ]
    child = subprocess.Popen(
        [*command, "-m", _MODULE, str(folder)],
        # Never written to: it closes when this process ends, which ends the children.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        text=True,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    """End the group that ``child`` leads, if it is still running."""
    for stop in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            os.killpg(child.pid, stop)
            try:
                child.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                continue
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _forward(line: str, run: FitContext) -> None:
    """Forward a progress or log message; other lines are ignored."""
    try:
        message = json.loads(line)
        kind, first, second = message["segadmin"], message["first"], message["second"]
    except (ValueError, TypeError, KeyError):
        return
    if kind == "progress":
        run.progress(first, second)
    else:
        run.log(first, second)


def _failure(folder: Path) -> Exception:
    """Return the first error of a process, with its own type if it is a SegadminError."""
    failures = sorted(folder.glob("failed-*.json"), key=lambda path: path.stat().st_mtime_ns)
    lines = (folder / "stderr").read_text(errors="replace").splitlines()[-_LINES:]
    if failures:
        failure = json.loads(failures[0].read_text(encoding="utf-8"))
        kind = getattr(errors, failure["kind"], None)
        if isinstance(kind, type) and issubclass(kind, errors.SegadminError):
            return kind(failure["message"])
        lines = failure["traceback"].splitlines()[-_LINES:]
    return RuntimeError("A process of the fit failed. It said last:\n" + "\n".join(lines))
