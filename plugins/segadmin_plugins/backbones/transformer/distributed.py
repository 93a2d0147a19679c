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
    """Let the first of several processes do something before the others do it; alone, just do it."""
    import torch.distributed as dist

    many = dist.is_available() and dist.is_initialized()
    if many and dist.get_rank():
        dist.barrier()
    yield
    if many and not dist.get_rank():
        dist.barrier()


def size() -> int:
    """Return of how many processes that fit together this is one."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def main(folder: Path) -> None:
    """Do a share of the fit that ``folder`` asks for; the first process says how far it is, and saves."""
    from segadmin.device_memory import is_out_of_memory, out_of_memory

    threading.Thread(target=_end_with_parent, daemon=True).start()
    rank = int(os.environ["RANK"])
    try:
        _fit(folder, rank)
    except Exception as error:
        if is_out_of_memory(error):
            error = out_of_memory(f"Out of memory in process {rank} of the fit.")
        said = {"kind": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
        (folder / f"failed-{rank}.json").write_text(json.dumps(said), encoding="utf-8")
        raise


def _fit(folder: Path, rank: int) -> None:
    import polars as pl
    import torch.distributed as dist
    from accelerate import PartialState  # type: ignore[import-untyped]

    from segadmin.contracts.backbone import Examples, FitContext, no_log, no_progress
    from segadmin.contracts.plugins import load_plugins
    from segadmin.settings import Settings

    PartialState(cpu=os.environ.get("ACCELERATE_USE_CPU") == "true")
    asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    examples = {
        name: Examples(pl.read_parquet(folder / f"{name}.parquet", glob=False), tuple(segments), tuple(features))
        for name, (segments, features) in asked["examples"].items()
    }
    settings = Settings(**asked["settings"])
    run = FitContext(
        settings,
        Path(asked["checkpoints"]),
        asked["seed"],
        _progress if rank == 0 else no_progress,
        _log if rank == 0 else no_log,
        start=Path(asked["start"]) if asked["start"] else None,
        also={name: examples[f"also-{n}"] for n, name in enumerate(asked["also"])},
    )
    backbone = load_plugins(settings).make("backbone", asked["backbone"], asked["options"])
    classifier = backbone.fit(examples["train"], examples["validation"], run)
    if rank == 0:
        classifier.save(folder / "saved")
    dist.barrier()
    dist.destroy_process_group()


def _progress(fraction: float, note: str = "") -> None:
    _say("progress", fraction, note)


def _log(step: int, figures: Mapping[str, float]) -> None:
    _say("log", step, dict(figures))


def _say(kind: str, first: Any, second: Any) -> None:
    sys.stdout.write(json.dumps({"segadmin": kind, "first": first, "second": second}) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    """End this process when the process that started the fit is gone: its end of the pipe closes then."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
