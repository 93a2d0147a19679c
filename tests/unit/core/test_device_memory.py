from __future__ import annotations

import subprocess
import sys

import pytest

from segadmin.device_memory import describe_memory, is_out_of_memory, parse_holders
from segadmin.errors import OutOfMemory

#: What ``nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name,used_memory --format=csv,noheader,nounits`` prints.
TABLE = """GPU-aaaa, 4242, /usr/bin/python3, 1536
GPU-bbbb, 17, python, 70000
GPU-aaaa, 4300, tritonserver, --model-repository=/m, 20480
GPU-aaaa, 4301, [Not Found], [N/A]
No running processes found
"""


def test_processes_that_hold_the_memory_of_a_gpu() -> None:
    assert parse_holders(TABLE, "aaaa") == [
        (20.0, 4300, "tritonserver, --model-repository=/m"),
        (1.5, 4242, "/usr/bin/python3"),
        (0.0, 4301, "[Not Found]"),
    ]
    assert [pid for _, pid, _ in parse_holders(TABLE, "")] == [17, 4300, 4242, 4301]
    assert parse_holders("", "aaaa") == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemory("a GPU is full"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_errors_that_mean_too_little_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("out of memory"), OSError("No space left on device")]
)
def test_errors_that_mean_something_else(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_the_error_of_torch_is_known_by_its_name() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("anything"))


def test_without_a_gpu_the_memory_of_the_machine_is_named() -> None:
    assert "GiB of memory free" in describe_memory()


def test_nothing_of_it_imports_torch() -> None:
    code = (
        "import sys; from segadmin.device_memory import describe_memory, release_memory; "
        "describe_memory(); release_memory(); import segadmin.jobs.run; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
