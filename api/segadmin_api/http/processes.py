"""The processes of a server, which share its port.

What protects a server from its clients does not depend on their number: requests and wrong keys of a client are counted
together, and places, such as connections, are divided.
"""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Processes:
    """How many there are; this is one of them."""

    number: int = 1
    counts: Path | None = None  #: the file of their :class:`~segadmin_api.http.counts.Counts`; ``None``: in memory

    def share(self, places: int) -> int:
        """Return how many of the places of the server each process has: at least one."""
        return math.ceil(places / self.number)


#: A server of one process.
ALONE = Processes()


def end_with_parent(processes: Processes) -> None:
    """Let this process end if the one that started it was killed: nobody else would stop it, and it holds the port."""
    parent = multiprocessing.parent_process()
    if parent is None or processes.counts is None:
        return
    loop, folder = asyncio.get_running_loop(), processes.counts.parent

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        shutil.rmtree(folder, ignore_errors=True)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)
