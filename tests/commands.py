"""Commands, web servers and Celery workers in processes of their own that need not import everything again.

Starting Python and importing costs a second of processor time for every command, and the tests run hundreds. So one
process imports what commands need and does nothing else; each command is a fork of it with the environment, folder and
streams of whoever asks. What a command does, prints and leaves behind is that of ``python -m segadmin_api.cli`` or
``python -m celery``; that commands import only what they need is tested with processes started anew.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import IO

#: Commands import these inside functions. None may start a thread or read a setting when it is imported.
_PRELOADED = (
    *("alembic.command", "deltalake", "polars", "rich.console", "rich.table", "segadmin_worker.client"),
    *("segadmin_api.http.server", "uvicorn.lifespan.on", "uvicorn.loops.auto"),
    *("celery.bin.celery", "celery.apps.beat", "celery.apps.worker", "celery.concurrency.prefork"),
    *("celery.worker.consumer.consumer", "kombu.transport.redis", "segadmin_worker.consumer", "segadmin.workflows"),
)
#: Only some commands import these, which take seconds, and whose memory makes every fork slow; so the commands are
#: forked from a process of their own.
_HEAVY = ("torch", "transformers", "sklearn.linear_model")
_HEAVY_COMMANDS = {("doctor",), ("backbones",), ("models", "export"), ("plugins", "check")}
_REQUEST_BYTES = 1 << 20


class Command:
    """A command that was started: as much of :class:`subprocess.Popen` as tests need."""

    def __init__(self, words: Sequence[str], connection: socket.socket) -> None:
        self._words, self._connection = words, connection
        self._status: int | None = None
        self.pid = int(connection.recv(64))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status.

        Raises:
            TimeoutExpired: it goes on for more than ``timeout`` seconds.
        """
        if self._status is None:
            self._connection.settimeout(timeout)
            try:
                self._status = os.waitstatus_to_exitcode(int(self._connection.recv(64)))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
            self._connection.close()
        return self._status

    def poll(self) -> int | None:
        """Return its exit status; ``None`` while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class CommandServer:
    """The process that commands are forked from."""

    def __init__(self, address: Path, process: subprocess.Popen[bytes], *, heavy: bool) -> None:
        self._address, self._heavy = address, heavy
        self._process = process  # it ends when nobody holds the other end of its input any more

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        out: IO[bytes],
        err: IO[bytes],
        *,
        folder: Path | None = None,
        umask: int = 0o022,
    ) -> Command:
        """Start ``segadmin …``, ``celery …`` or ``python -c …`` in ``folder``, or here, begun with ``umask``."""
        if not self._heavy and _HEAVY_COMMANDS.intersection((tuple(words[1:2]), tuple(words[1:3]))):
            return command_server(heavy=True).start(words, environment, out, err, folder=folder, umask=umask)
        request = {
            "words": list(words),
            "environment": dict(environment),
            "folder": str(folder or Path.cwd()),
            "umask": umask,
        }
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_BYTES)
        try:
            connection.connect(str(self._address))
        except ConnectionRefusedError:
            connection.close()
            raise RuntimeError(f"the process that commands are forked from has ended: {self._process.poll()}") from None
        socket.send_fds(connection, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
        return Command(words, connection)

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], timeout: float, umask: int = 0o022
    ) -> subprocess.CompletedProcess[str]:
        """Run ``segadmin`` to its end, as :meth:`start` does; output is captured.

        Raises:
            TimeoutExpired: it took more than ``timeout`` seconds, and was killed.
        """
        return self._run(["segadmin", *words], environment, timeout, umask)

    def python(
        self, code: str, *arguments: str, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python -c CODE …`` to its end, with ``environment`` beside that of this process; output is captured.

        Raises:
            TimeoutExpired: it took more than ``timeout`` seconds, and was killed.
        """
        return self._run(["python", "-c", code, *arguments], {**os.environ, **environment}, timeout)

    def _run(
        self, words: Sequence[str], environment: Mapping[str, str], timeout: float, umask: int = 0o022
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            command = self.start(words, environment, out, err, umask=umask)
            try:
                status = command.wait(timeout)
            except subprocess.TimeoutExpired:
                command.kill()
                command.wait()
                raise
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess([*words], status, *texts)


@cache
def command_server(*, heavy: bool = False) -> CommandServer:
    """Return the process that commands are forked from, started now if need be; it ends with this process.

    Args:
        heavy: whether it is that of the commands that import PyTorch.
    """
    address = Path(tempfile.mkdtemp(prefix="segadmin-commands-")) / "commands"
    command = [sys.executable, "-m", "tests.commands", str(address), *(_HEAVY if heavy else ())]
    environment = os.environ | {"REMAP_SIGTERM": "SIGQUIT"}  # of every worker, and read when Celery is imported
    root = Path(__file__).parent.parent
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, env=environment)
    assert server.stdout is not None
    server.stdout.readline()  # it listens
    return CommandServer(address, server, heavy=heavy)


def _serve(address: str, *heavy: str) -> None:
    """Fork a command for each connection, and say over it how the command ended."""
    from sqlalchemy.orm import configure_mappers

    import segadmin_api.cli

    for module in pkgutil.iter_modules(segadmin_api.cli.__path__, "segadmin_api.cli."):
        if module.name != "segadmin_api.cli.__main__":
            importlib.import_module(module.name)
    for name in (*_PRELOADED, *heavy):
        importlib.import_module(name)
    configure_mappers()
    gc.freeze()  # collecting garbage would write to what all share, and so copy it
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())  # else a command that ends just before the wait would be reaped after the next
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen(16)
        print(address, flush=True)
        while sys.stdin not in (ready := select.select([listening, sys.stdin, woken], [], [])[0]):
            if woken in ready:
                woken.recv(4096)
            if listening in ready:
                _start(listening.accept()[0])
    shutil.rmtree(Path(address).parent)


#: Process id of each command that runs → whom to tell how it ended.
_asked: dict[int, socket.socket] = {}


def _start(connection: socket.socket) -> None:
    request, streams, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, 2)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # it is not reaped before it is in the dictionary
    if (command := os.fork()) == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        _become(json.loads(request), streams)
    _tell(connection, command)
    _asked[command] = connection
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    for stream in streams:
        os.close(stream)


def _reap(_signal: int, _frame: FrameType | None) -> None:
    """Wait for commands that have ended, and tell whoever asked for them."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            connection = _asked.pop(ended[0])
            _tell(connection, ended[1])
            connection.close()


def _tell(connection: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # nobody waits any more
        connection.send(str(number).encode())


def _become(request: dict[str, object], streams: Sequence[int]) -> None:
    """Run a command and end."""
    words, environment, folder = request["words"], request["environment"], request["folder"]
    assert isinstance(words, list)
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(folder))
    os.umask(int(str(request["umask"])))
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)  # Python itself reads it, but only when it starts
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(stream, number)
    os.closerange(3, 256)
    sys.argv = [*words]
    from celery.__main__ import main as celery

    from segadmin.storage import database
    from segadmin_api.cli import main as segadmin

    status: object = 0
    try:
        {"segadmin": segadmin, "celery": celery, "python": _python}[sys.argv[0]]()
    except SystemExit as ended:
        status = ended.code or 0
    except Exception:
        traceback.print_exc()
        status = 1
    database._engine.cache_clear()  # connections are closed at the end of a process, and SQLite tidies up then
    gc.collect()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)  # else Python would clear all that was imported, for a second


def _python() -> None:
    """Run the code that follows ``python -c``."""
    code = sys.argv.pop(2)
    del sys.argv[0]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _serve(*sys.argv[1:])
