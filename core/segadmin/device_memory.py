"""The memory of GPUs: whether an error means that there was too little, who holds it, and giving it back.

Nothing here imports torch. Only a process that has loaded torch already can hold memory of a GPU.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from typing import Any

import psutil

from segadmin.errors import OutOfMemory

#: How libraries report it that have no exception of their own for it, in lower case.
_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "not enough memory",
)
_GIB = 2**30
_MIB_PER_GIB = 1024
_SECONDS = 5.0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that a GPU or this machine had too little free memory."""
    if isinstance(error, MemoryError | OutOfMemory):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def out_of_memory(what: str, advice: str = "") -> OutOfMemory:
    """Return the error to raise where ``what`` ran out of memory: with the device, its memory, and who holds it."""
    return OutOfMemory(" ".join(filter(None, (what, describe_memory(), advice))))


def describe_memory() -> str:
    """Return which GPU this process uses, how much of its memory is free, and which processes hold the rest.

    Without a GPU: how much memory this machine has left.
    """
    cuda = _cuda()
    if cuda is None:
        memory = psutil.virtual_memory()
        return f"This machine has {memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB of memory free."
    device = cuda.current_device()
    try:
        free, total = cuda.mem_get_info(device)
        name = f"{cuda.get_device_name(device)}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
        reserved = f"this process holds {cuda.memory_reserved(device) / _GIB:.1f} GiB"
    except RuntimeError as error:  # a GPU that has failed answers nothing any more
        return f"GPU {device} does not answer ({str(error).splitlines()[0][:100]})."
    holders = _holders(str(getattr(cuda.get_device_properties(device), "uuid", "")))
    return f"GPU {device} ({name}): {'; '.join([reserved, *holders])}."


def release_memory() -> None:
    """Give back the memory of objects that nobody uses any more, on a GPU too.

    PyTorch keeps freed memory of a GPU for itself until it is told to return it. What stays is the CUDA context, about
    half a GiB, which only the end of the process frees.
    """
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        try:
            cuda.empty_cache()
        except RuntimeError:  # the GPU has failed; the next step says so
            return


def _cuda() -> Any:
    """Return ``torch.cuda`` where this process uses a GPU, else ``None``."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _holders(uuid: str) -> list[str]:
    """Return the processes that hold memory of the GPU ``uuid``, the largest first; nothing where nobody can tell."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    fields = "--query-compute-apps=gpu_uuid,pid,process_name,used_memory"
    try:
        done = subprocess.run(
            [program, fields, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = parse_holders(done.stdout, uuid)
    return [f"process {pid} ({name}) {size:.1f} GiB" for size, pid, name in rows if pid != os.getpid()]


def parse_holders(table: str, uuid: str) -> list[tuple[float, int, str]]:
    """Return ``(GiB, process id, program)`` of the lines of nvidia-smi that are of the GPU ``uuid``, largest first.

    Without ``uuid``, those of all GPUs. A driver that does not know how much a process holds writes ``[N/A]``.
    """
    rows = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < 4 or (uuid and uuid not in cells[0]) or not cells[1].isdigit():
            continue
        size = float(cells[-1]) / _MIB_PER_GIB if cells[-1].isdigit() else 0.0
        rows.append((size, int(cells[1]), ", ".join(cells[2:-1])))
    return sorted(rows, reverse=True)
