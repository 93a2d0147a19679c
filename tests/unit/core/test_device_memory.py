from __future__ import annotations

import subprocess
import sys

import pytest

from segadmin.device_memory import (
    describe_memory,
    device_failure,
    device_has_failed,
    is_device_failure,
    is_out_of_memory,
    parse_holders,
)
from segadmin.errors import PERMANENT, DeviceFailed, OutOfMemory

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


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("No CUDA GPUs are available"), True),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("shapes do not match"), False),
        (OSError("CUDA error: of somebody else"), False),
    ],
)
def test_errors_that_mean_that_a_gpu_failed(error: Exception, failed: bool) -> None:
    assert is_device_failure(error) == failed


def test_the_error_of_torch_for_a_failed_gpu_is_known_and_retried() -> None:
    import torch

    error = torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")
    assert is_device_failure(error)
    raised = device_failure("predict of the backbone 'hf' lost its GPU:", error)
    assert isinstance(raised, DeviceFailed)
    assert not isinstance(raised, PERMANENT)
    assert str(raised).startswith(
        "predict of the backbone 'hf' lost its GPU: CUDA error: unspecified launch failure. A"
    )
    assert "nvidia-smi" in str(raised)


@pytest.mark.parametrize("answer", [None, "CUDA error: device-side assert triggered", "CUDA out of memory"])
def test_a_gpu_that_does_not_answer_any_more(answer: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def synchronize() -> None:
        if answer:
            raise torch.AcceleratorError(answer)

    assert not device_has_failed()  # this process uses none
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert device_has_failed() == (answer is not None and answer.startswith("CUDA error"))
