"""What ``segadmin doctor`` looks at. A check yields findings; what it raises becomes one that failed."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from segadmin import preflight
from segadmin.counts import counted
from segadmin.errors import BrokerUnavailable, PluginNotFound, StorageError
from segadmin.events.erasure_mark import was_interrupted
from segadmin.events.inbox import Inbox
from segadmin.permissions import exposures
from segadmin.settings import Settings, shown
from segadmin.storage import database
from segadmin.workflows.inbox_retry import failed_import
from segadmin_api.cli.startup import same_port
from segadmin_worker import state
from segadmin_worker.state import PartState

#: Less free space than this fails, or is worth a warning.
_DISK_FAIL, _DISK_WARN = 200 * 2**20, 2 * 2**30
#: Settings that the checks of the database, the store and the plugins look at.
_CHECKED_APART = ("database_url", "store", "plugin_files")
#: A schedule that is overdue this long has no beat looking after it.
_OVERDUE = timedelta(minutes=1)
#: Posted events that wait so much longer than they are collected for have no worker looking after them.
_INBOX_LATE = timedelta(minutes=10)


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"  #: works, with less
    FAIL = "fail"  #: something that was set up does not work


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    level: Level
    what: str
    detail: str
    mend: str = ""  #: the command or setting that mends it


Check = Callable[[Settings], Iterator[Finding]]


def packages(settings: Settings) -> Iterator[Finding]:
    """Which extras are installed, and whether those that the settings need are."""
    version = importlib.metadata.version("segadmin")
    yield Finding(Level.OK, "python", f"{sys.version.split()[0]}, segadmin {version}")
    needed = {
        "worker": (Level.WARN, "this machine can enqueue, but not work"),
        "embedded": (Level.FAIL if settings.embedded_broker else Level.OK, "the embedded Redis"),
        "postgres": (Level.FAIL if settings.sqlalchemy_url.startswith("postgres") else Level.OK, "PostgreSQL"),
        "demo": (Level.WARN, "segadmin demo needs it"),
    }
    for extra, (level, why) in needed.items():
        missing = _missing(extra)
        if not missing:
            yield Finding(Level.OK, f"extra {extra}", "installed")
        elif level == Level.OK:
            yield Finding(Level.OK, f"extra {extra}", "not installed, not needed with these settings")
        else:
            detail = f"not installed: {', '.join(missing)} ({why})"
            yield Finding(level, f"extra {extra}", detail, f"pip install 'segadmin[{extra}]'")


def variables(_settings: Settings) -> Iterator[Finding]:
    """Whether every ``SEGADMIN_`` variable is a setting."""
    for name, meant in preflight.unknown_variables(os.environ).items():
        yield Finding(Level.WARN, "variables", f"{name} is no setting.{meant}", f"rename it, or unset {name}")


def values(settings: Settings) -> Iterator[Finding]:
    """Whether the settings can be used, but for those that have a check of their own."""
    chosen = sorted(settings.model_fields_set)
    yield Finding(Level.OK, "settings", f"chosen: {', '.join(chosen)}" if chosen else "all defaults")
    for name, check in preflight.CHECKS.items():
        if name not in _CHECKED_APART:
            lines = list(check(settings))
            yield from (Finding(Level.FAIL, f"setting {name}", line) for line in lines)
            if not lines and name in chosen:
                value = shown(name, getattr(settings, name)).partition("=")[2]
                yield Finding(Level.OK, f"setting {name}", value)
    if (problem := same_port(settings)) is not None:
        yield Finding(Level.FAIL, "setting web_port", problem)


def sql(settings: Settings) -> Iterator[Finding]:
    """Whether the database answers and has this version's schema."""
    found = database.revision(settings)
    url = database.shown(settings)
    if found == database.HEAD:
        yield Finding(Level.OK, "database", f"{url}, revision {found}")
    elif found is None and not settings.database_url:
        yield Finding(Level.OK, "database", f"{url}, made at first use")
    else:
        detail = f"{url} is at revision {found or 'none'}, not {database.HEAD}"
        yield Finding(Level.FAIL, "database", detail, "segadmin db upgrade")


def store(settings: Settings) -> Iterator[Finding]:
    """Whether the store is the database's and can be written, and how much room there is."""
    folder = settings.store_path
    if problems := list(preflight.CHECKS["store"](settings)):
        yield from (Finding(Level.FAIL, "store", problem) for problem in problems)
        return
    free = shutil.disk_usage(folder).free
    level = Level.FAIL if free < _DISK_FAIL else Level.WARN if free < _DISK_WARN else Level.OK
    mend = "" if level == Level.OK else "free some space, or set SEGADMIN_STORE to another disk"
    yield Finding(level, "store", f"{folder}, {free / 2**30:.1f} GiB free", mend)


def rights(settings: Settings) -> Iterator[Finding]:
    """Whether other users of this machine can read or change anything."""
    found = list(exposures(settings))
    yield from (Finding(Level.WARN, "rights", str(one), one.fix) for one in found)
    if not found:
        whom = "its owner" if settings.umask == "077" else f"its owner and group (umask {settings.umask})"
        yield Finding(Level.OK, "rights", f"{settings.root} is open to {whom} alone")


def inbox(settings: Settings) -> Iterator[Finding]:
    """Whether posted events come into the lake: none are set aside, and none wait for long."""
    box = Inbox.of(settings)
    if failed := box.failed():
        detail = f"no import could take {_batches(failed)}: {failed[0].reason[:200]}"
        yield Finding(Level.FAIL, "inbox", detail, "segadmin data inbox")
    waiting = box.batches()
    job = failed_import(settings) if waiting and database.revision(settings) == database.HEAD else None
    oldest = box.oldest() or time.time()
    if job is not None:
        detail = f"waiting: {_batches(waiting)}; the import, job {job.id}, failed: {job.error}"
        mend = f"fix that; beat tries it again every minute, or at once: segadmin jobs retry {job.id}"
        yield Finding(Level.FAIL, "inbox", detail, mend)
    elif time.time() - oldest > _INBOX_LATE.total_seconds() + settings.inbox_seconds:
        since = datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds")
        detail = f"waiting since {since}: {_batches(waiting)}"
        yield Finding(Level.WARN, "inbox", detail, "segadmin enqueue ingest inbox:// --wait")
    elif not failed:
        yield Finding(Level.OK, "inbox", f"waiting: {_batches(waiting)}")


def _batches(some: Sequence[object]) -> str:
    return counted(len(some), "batch of posted events", "batches of posted events")


def erasure(settings: Settings) -> Iterator[Finding]:
    """Whether an erasure of users was killed: some of what it was to delete is still there."""
    if was_interrupted(settings):
        detail = "an erasure of users was interrupted, and some of what it was to delete is still there"
        yield Finding(Level.WARN, "erasure", detail, "segadmin data forget")


def broker(settings: Settings) -> Iterator[Finding]:
    """Whether the broker answers, and whether every queue has a worker."""
    from segadmin_worker import client, inspection

    try:
        inspection.ping(settings)
    except BrokerUnavailable as error:
        if settings.embedded_broker and not _runs_here(settings):
            yield Finding(Level.WARN, "broker", "the embedded Redis is not started", "segadmin up --detach")
        else:
            yield Finding(Level.FAIL, "broker", str(error))
        return
    yield Finding(Level.OK, "broker", client.shown(settings))
    found = inspection.workers(settings)
    for queue in inspection.QUEUES:
        names = [name for name, queues in found.items() if queue in queues]
        if names:
            yield Finding(Level.OK, f"queue {queue}", ", ".join(names))
        else:
            mend = "segadmin up --detach" if settings.embedded_broker else f"segadmin worker --queues {queue}"
            yield Finding(Level.FAIL, f"queue {queue}", "no worker answers", mend)


def beat(settings: Settings) -> Iterator[Finding]:
    """Whether something looks after schedules: the beat of this machine, or what it would have left undone."""
    from segadmin.jobs.schedules import list_schedules
    from segadmin.storage.records import utcnow

    found = state.read(settings)
    part = next((part for part in found.parts if part.name == "beat"), None) if found else None
    if part is not None and part.process is not None and part.state == PartState.RUNNING:
        yield Finding(Level.OK, "beat", f"runs here (pid {part.pid})")
        return
    try:
        if database.revision(settings) != database.HEAD:
            return
        schedules = list_schedules(settings)
    except StorageError:  # the database's own finding says it
        return
    late = [one.name for one in schedules if one.next_slot < utcnow() - _OVERDUE]
    if late:
        yield Finding(Level.FAIL, "beat", f"overdue: {', '.join(late)}", "segadmin up --detach, or segadmin beat")
    else:
        yield Finding(Level.OK, "beat", f"does not run here; none of {counted(len(schedules), 'schedule')} is overdue")


def plugins(settings: Settings) -> Iterator[Finding]:
    """Whether every plugin loads."""
    from segadmin.contracts.plugins import KINDS, load_plugins

    found = load_plugins(settings)
    for error in found.broken.values():
        yield Finding(Level.FAIL, "plugins", str(error))
    if not found.broken:
        counts = ", ".join(f"{kind} {len(found.names(kind))}" for kind in KINDS)
        yield Finding(Level.OK, "plugins", counts)


def weights(settings: Settings, backbone: str, *, asked: bool) -> Iterator[Finding]:
    """Whether a backbone's weights and libraries can be had here."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.contracts.resolve import resolve_backbone
    from segadmin.errors import BackboneUnavailable, PluginError

    try:
        found = load_plugins(settings)
        name, options = resolve_backbone(found, backbone, {})
        found.make("backbone", name, options).check(settings)
    except (BackboneUnavailable, PluginError) as error:
        level = Level.FAIL if asked or isinstance(error, PluginNotFound) else Level.WARN
        yield Finding(level, f"backbone {backbone}", str(error))
    else:
        yield Finding(Level.OK, f"backbone {backbone}", "its weights are here")


def gpu(_settings: Settings) -> Iterator[Finding]:
    """Which accelerator models train on."""
    if _missing("worker"):
        return
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            yield Finding(Level.OK, f"GPU {index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    elif shutil.which("nvidia-smi"):
        detail = f"there is an NVIDIA driver, but torch {torch.__version__} does not see a GPU"
        yield Finding(Level.WARN, "GPU", detail, "pip install torch (the CUDA build); look at nvidia-smi")
    else:
        yield Finding(Level.OK, "GPU", f"none; models train on {os.cpu_count()} CPU cores")


def _runs_here(settings: Settings) -> bool:
    found = state.read(settings)
    return found is not None and found.process is not None


def _missing(extra: str) -> list[str]:
    """Return the distributions of an extra that are not installed."""
    missing = []
    for requirement in importlib.metadata.requires("segadmin") or []:
        words, _, marker = requirement.partition(";")
        name = re.split(r"[^\w.-]", words.strip(), maxsplit=1)[0]
        if f'extra == "{extra}"' not in marker.replace("'", '"') or name == "segadmin":
            continue
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing
