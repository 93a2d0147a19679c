"""GPUs: detecting that their memory is full or that they failed, listing who holds memory, and releasing it.

This module does not import torch: only a process that has already loaded torch can hold GPU memory.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from typing import Any

from segadmin.errors import DeviceFailed, OutOfMemory

#: Messages, in lower case, of libraries without an exception type for this error.
_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "not enough memory",
)
#: Messages, in lower case, of a GPU that failed, is gone, or was never there for this process.
_FAILURES = ("cuda error", "hip error", "no cuda gpus are available", "no cuda-capable device")
_GIB = 2**30
_MIB_PER_GIB = 1024
_TIMEOUT_SECONDS = 5.0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that a GPU or this machine had too little free memory."""
    if isinstance(error, MemoryError | OutOfMemory):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def is_device_failure(error: BaseException) -> bool:
    """Whether ``error`` means that a GPU failed or is gone. Nothing more can be computed on it in this process."""
    if is_out_of_memory(error):
        return False
    if any(kind.__name__ == "AcceleratorError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _FAILURES)


def device_failure(what: str, error: BaseException) -> DeviceFailed:
    """Return an error for ``what`` that quotes the first line of the device's ``error``."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DeviceFailed(
        f"{what} {reason}. A new process tries again; if that fails too, check the GPU with nvidia-smi, or let the "
        "worker compute without it: CUDA_VISIBLE_DEVICES=''"
    )


def device_has_failed() -> bool:
    """Whether the GPU that this process uses does not answer any more; only a new process can use it again."""
    cuda = _cuda()
    if cuda is None:
        return False
    try:
        cuda.synchronize()
    except RuntimeError as error:
        return is_device_failure(error)
    return False


def out_of_memory(what: str, advice: str = "") -> OutOfMemory:
    """Return an error for ``what`` that names the device, its free memory and the processes that hold the rest."""
    return OutOfMemory(" ".join(filter(None, (what, describe_memory(), advice))))


def describe_memory() -> str:
    """Return a sentence with this process's GPU, its free memory (GiB) and the processes that hold the rest.

    Without a GPU, the sentence states the free memory of this machine.
    """
    cuda = _cuda()
    if cuda is None:
        import psutil  # enqueuing imports this module and describes nothing

        memory = psutil.virtual_memory()
        return f"This machine has {memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB of memory free."
    device = cuda.current_device()
    try:
        free, total = cuda.mem_get_info(device)
        name = f"{cuda.get_device_name(device)}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
        reserved = f"this process holds {cuda.memory_reserved(device) / _GIB:.1f} GiB"
    except RuntimeError as error:  # the GPU has failed
        return f"GPU {device} does not answer ({str(error).splitlines()[0][:100]})."
    holders = _holders(str(getattr(cuda.get_device_properties(device), "uuid", "")))
    return f"GPU {device} ({name}): {'; '.join([reserved, *holders])}."


def release_memory() -> None:
    """Release the memory of unreferenced objects, also on a GPU.

    PyTorch caches freed GPU memory until it is explicitly released. The CUDA context, about half a GiB, is only freed
    when the process ends.
    """
    gc.collect()
    cuda = _cuda()
    if cuda is not None:
        try:
            cuda.empty_cache()
        except RuntimeError:  # the GPU has failed; the next step reports it
            return


def uses_gpu() -> bool:
    """Whether this process uses a GPU."""
    return _cuda() is not None


def _cuda() -> Any:
    """Return ``torch.cuda`` if this process uses a GPU, else ``None``."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_initialized() else None


def _holders(uuid: str) -> list[str]:
    """Return the processes that hold memory of the GPU ``uuid``, largest first; empty if nvidia-smi is unavailable."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    fields = "--query-compute-apps=gpu_uuid,pid,process_name,used_memory"
    try:
        process = subprocess.run(
            [program, fields, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = parse_holders(process.stdout, uuid)
    return [f"process {pid} ({name}) {size:.1f} GiB" for size, pid, name in rows if pid != os.getpid()]


def parse_holders(table: str, uuid: str) -> list[tuple[float, int, str]]:
    """Return ``(GiB, process id, program)`` for nvidia-smi's lines about the GPU ``uuid``, largest first.

    An empty ``uuid`` selects all GPUs. ``[N/A]``, which some drivers report as the size, becomes 0 GiB.
    """
    rows = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < 4 or (uuid and uuid not in cells[0]) or not cells[1].isdigit():
            continue
        size = float(cells[-1]) / _MIB_PER_GIB if cells[-1].isdigit() else 0.0
        rows.append((size, int(cells[1]), ", ".join(cells[2:-1])))
    return sorted(rows, reverse=True)
