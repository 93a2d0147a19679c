"""One of the processes that fit a model together: ``torchrun -m …distributed FOLDER``; see :mod:`.launch`."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def main_first() -> Iterator[None]:
    """Run the block in the first process before the others; with one process, just run it."""
    import torch.distributed as dist

    many = dist.is_available() and dist.is_initialized()
    if many and dist.get_rank():
        dist.barrier()
    yield
    if many and not dist.get_rank():
        dist.barrier()


def size() -> int:
    """Return the number of processes that fit together."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def on_one_gpu(arguments: Any) -> Any:
    """Return the Trainer's ``arguments`` for one GPU per process.

    A process that sees several would split batches between them with DataParallel, which cannot split packed texts.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def main(folder: Path) -> None:
    """Run one process of the fit requested in ``folder``; the first process reports progress and saves."""
    from segadmin.device_memory import is_out_of_memory, out_of_memory

    threading.Thread(target=_end_with_parent, daemon=True).start()
    rank = int(os.environ["RANK"])
    try:
        _fit(folder, rank)
    except Exception as error:
        if is_out_of_memory(error):
            error = out_of_memory(f"Out of memory in process {rank} of the fit.")
        failure = {"kind": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        (folder / f"failed-{rank}.json").write_text(json.dumps(failure), encoding="utf-8")
        raise


def _fit(folder: Path, rank: int) -> None:
    import polars as pl
    import torch.distributed as dist
    from accelerate import PartialState  # type: ignore[import-untyped]

    from segadmin.contracts.backbone import Examples, FitContext, no_log, no_progress
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import Settings

    PartialState(cpu=os.environ.get("ACCELERATE_USE_CPU") == "true")
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    examples = {
        name: Examples(pl.read_parquet(folder / f"{name}.parquet", glob=False), tuple(segments), tuple(features))
        for name, (segments, features) in request["examples"].items()
    }
    settings = Settings(**request["settings"])
    run = FitContext(
        settings,
        Path(request["checkpoints"]),
        request["seed"],
        _progress if rank == 0 else no_progress,
        _log if rank == 0 else no_log,
        start=Path(request["start"]) if request["start"] else None,
        update=request["update"],
        also={name: examples[f"also-{n}"] for n, name in enumerate(request["also"])},
    )
    backbone = load_plugins(settings).make("backbone", request["backbone"], request["options"])
    classifier = backbone.fit(examples["train"], examples["validation"], run)
    if rank == 0:
        classifier.save(folder / "saved")
    dist.barrier()
    dist.destroy_process_group()


def _progress(fraction: float, note: str = "") -> None:
    _emit("progress", fraction, note)


def _log(step: int, figures: Mapping[str, float]) -> None:
    _emit("log", step, dict(figures))


def _emit(kind: str, first: Any, second: Any) -> None:
    sys.stdout.write(json.dumps({"segadmin": kind, "first": first, "second": second}) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """End this process when its parent has ended, which closes the pipe."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
