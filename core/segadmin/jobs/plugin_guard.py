"""Calling a plugin: an error names the plugin, and fails only its step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segadmin.contracts.plugin_errors import describe
from segadmin.contracts.plugins import Registered
from segadmin.device_memory import device_failure, is_device_failure, is_out_of_memory, out_of_memory
from segadmin.errors import INTERRUPTS, PluginError, SegadminError
from segadmin.jobs.attempt import Attempt
from segadmin.jobs.lease import extend


@contextmanager
def calling(attempt: Attempt, plugin: Registered, method: str) -> Iterator[None]:
    """Turn an exception of a plugin in the body into a ``PluginError`` that names the plugin.

    It is written down first that it is called: a process that dies in it can say nothing any more. What only
    this machine suffers from at this moment (memory, disk) stays as it is: another try may do. So may it where a GPU
    is full or fails, which torch reports as a ``RuntimeError``: that becomes ``OutOfMemory`` or ``DeviceFailed``.
    """
    outer, attempt.calling = attempt.calling, f"{method} of the {plugin.kind} {plugin.name!r} of {plugin.distribution}"
    extend(attempt)
    try:
        yield
    except (SegadminError, MemoryError, OSError, *INTERRUPTS):
        raise
    except BaseException as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"{attempt.calling} ran out of memory.") from error
        if is_device_failure(error):
            raise device_failure(f"{attempt.calling} lost its GPU:", error) from error
        who = f"The {plugin.kind} {plugin.name!r} of {plugin.distribution}"
        raise PluginError(f"{who} failed in {method}: {describe(error)}") from error
    finally:
        attempt.calling = outer
