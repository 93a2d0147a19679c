"""The keys that Celery uses in Redis, and their types: a key of another type ends every worker at once.

Another program that shares the database may have made one, or somebody by hand. Redis keeps such a key on disk, so that
it is there again after each start.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from segadmin.settings import Settings
from segadmin.urls import mask_url
from segadmin_worker import redis_server
from segadmin_worker.services import CPU_QUEUES, GPU_QUEUES

if TYPE_CHECKING:
    from redis import Redis

QUEUES = (*CPU_QUEUES, *GPU_QUEUES)
#: Suffixes of the lists of a queue: one for each priority; see ``priority_steps`` and ``sep`` of the configuration.
PRIORITIES = ("", ":3", ":6", ":9")
#: Exchanges besides those of the queues: remote control, its answers, and the events that Flower reads.
_EXCHANGES = ("celery.pidbox", "reply.celery.pidbox", "celeryev")
#: Key → its type.
TYPES = {
    **{f"{queue}{priority}": "list" for queue in QUEUES for priority in PRIORITIES},
    **{
        f"_kombu.binding{kind}.{exchange}": "set"
        for kind in ("", "_permanent")
        for exchange in (*QUEUES, *_EXCHANGES, "celery")
    },
    "_kombu.binding_deadlines": "zset",
    "unacked": "hash",
    "unacked_index": "zset",
    "unacked_mutex": "string",
}


@dataclass(frozen=True)
class WrongKey:
    """A key whose type is not the one that Celery needs."""

    name: str
    type: str  #: as Redis names it, such as ``string``
    needed: str


def wrong_keys(client: Redis) -> list[WrongKey]:
    """Return the keys of wrong types, in alphabetical order.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    names = sorted(TYPES)
    with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.type(name)
        types = [kind.decode() if isinstance(kind, bytes) else kind for kind in pipeline.execute()]
    present = zip(names, types, strict=True)
    return [WrongKey(name, kind, TYPES[name]) for name, kind in present if kind not in {"none", TYPES[name]}]


def explain(settings: Settings, keys: list[WrongKey]) -> str:
    """Return what is wrong with ``keys``, of which there is at least one, and the commands that move them away."""
    shown = " and ".join(f"the key {key.name!r} is a {key.type} and should be a {key.needed}" for key in keys)
    commands = " && ".join(f"{_redis_cli(settings)} RENAME {key.name} {key.name}.moved" for key in keys)
    shared = "" if settings.embedded_broker else " If another program uses it, give segadmin a database of its own."
    return f"Workers cannot run: in the broker, {shown}. Nothing is lost if it is renamed: {commands}{shared}"


def _redis_cli(settings: Settings) -> str:
    """Return the command that reaches the broker, without its password."""
    url = settings.celery_broker_url
    if urlsplit(url).scheme != "redis+socket":
        return f"redis-cli -u {shlex.quote(mask_url(url))}"
    program = redis_server.command_line() if settings.embedded_broker else "redis-cli"
    return f"{shlex.quote(program)} -s {shlex.quote(unquote(urlsplit(url).path))}"
