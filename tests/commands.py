"""``segadmin`` commands in processes of their own that need not import everything again.

Starting Python and importing costs a second of processor time for every command, and the tests run hundreds. So one
process imports what commands need and does nothing else; each command is a fork of it with the environment, folder and
streams of whoever asks. What a command does, prints and leaves behind is that of ``python -m segadmin_api.cli``; that
commands import only what they need is tested with processes started anew.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

#: Commands import these inside functions. None may start a thread or read a setting when it is imported.
_PRELOADED = ("alembic.command", "deltalake", "polars", "rich.console", "rich.table", "segadmin_worker.client")
#: Few commands import these, and they take seconds; so they come when nobody asks for a while.
_PRELOADED_LATER = ("torch", "transformers", "sklearn.linear_model")
_REQUEST_BYTES = 1 << 20


class CommandServer:
    """The process that commands are forked from."""

    def __init__(self, address: Path) -> None:
        self._address = address

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], timeout: float, umask: int = 0o022
    ) -> subprocess.CompletedProcess[str]:
        """Run ``segadmin`` with ``words`` in this folder, begun with ``umask``; output is captured.

        Raises:
            TimeoutExpired: it took more than ``timeout`` seconds, and was killed.
        """
        request = {
            "words": list(words),
            "environment": dict(environment),
            "folder": str(Path.cwd()),
            "umask": umask,
        }
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_BYTES)
            connection.connect(str(self._address))
            socket.send_fds(connection, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
            command = int(connection.recv(64))
            connection.settimeout(timeout)
            try:
                status = int(connection.recv(64))
            except TimeoutError:
                os.kill(command, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["segadmin", *words], timeout) from None
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess(["segadmin", *words], os.waitstatus_to_exitcode(status), *texts)


def run_anew(words: Sequence[str], environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run ``segadmin`` as :meth:`CommandServer.run` does, in a Python of its own."""
    command = [sys.executable, "-m", "segadmin_api.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout, check=False)


@contextmanager
def command_server(folder: Path) -> Iterator[CommandServer]:
    """Run the process that commands are forked from, until the end."""
    address = folder / "commands"
    with subprocess.Popen([sys.executable, "-m", "tests.commands", str(address)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()  # it listens
            yield CommandServer(address)
        finally:
            server.terminate()


def _serve(address: str) -> None:
    """Answer each connection in a process of its own, which forks the command and says how it ended."""
    import segadmin_api.cli

    for module in pkgutil.iter_modules(segadmin_api.cli.__path__, "segadmin_api.cli."):
        if module.name != "segadmin_api.cli.__main__":
            importlib.import_module(module.name)
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # collecting garbage would write to what all share, and so copy it
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen(16)
        print(address, flush=True)
        listening.settimeout(1)
        while True:
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                listening.settimeout(None)
                for name in _PRELOADED_LATER:
                    importlib.import_module(name)
                gc.freeze()
                continue
            if os.fork() == 0:
                listening.close()
                _answer(connection)
            connection.close()


def _reap(_signal: int, _frame: FrameType | None) -> None:
    """Wait for processes that have ended: only so is what commands cost counted with what the tests cost."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 2)
    if (command := os.fork()) == 0:
        connection.close()
        _become(json.loads(request), streams)
    connection.send(str(command).encode())
    _, status = os.waitpid(command, 0)
    connection.send(str(status).encode())
    os._exit(0)


def _become(request: dict[str, object], streams: Sequence[int]) -> None:
    """Run a command and end."""
    words, environment, folder = request["words"], request["environment"], request["folder"]
    assert isinstance(words, list)
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(folder))
    os.umask(int(str(request["umask"])))
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(stream, number)
    os.closerange(3, 256)
    sys.argv = ["segadmin", *words]
    from segadmin.storage import database
    from segadmin_api.cli import main

    status: object = 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code or 0
    database._engine.cache_clear()  # connections are closed at the end of a process, and SQLite tidies up then
    gc.collect()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)  # else Python would clear all that was imported, for a second


if __name__ == "__main__":
    _serve(sys.argv[1])
