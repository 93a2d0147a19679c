"""The checks of ``segadmin doctor``. A check yields findings; an error that it raises becomes a failed finding."""

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
from shlex import quote

from segadmin import preflight
from segadmin.errors import BrokerUnavailable, PluginNotFound, StorageError
from segadmin.events.erasure_mark import was_interrupted
from segadmin.events.inbox import Inbox
from segadmin.permissions import exposures
from segadmin.settings import Settings, shown
from segadmin.storage import database
from segadmin.storage.integrity import check_database, read_tables
from segadmin.storage.records import CanaryState, ModelVersion
from segadmin.workflows.inbox_retry import failed_import
from segadmin_api.cli.startup import same_port
from segadmin_api.formatting import canary_line, duration
from segadmin_worker import state
from segadmin_worker.state import ServiceState

#: Free bytes below which the check fails, or warns.
_DISK_FAIL, _DISK_WARN = 200 * 2**20, 2 * 2**30
#: Settings that the checks of the database, the store and the plugins cover.
_CHECKED_ELSEWHERE = ("database_url", "store", "plugin_files")
#: If posted events wait longer than the collection time plus this, no worker imports them.
_INBOX_LATE = timedelta(minutes=10)


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"  #: works, with restrictions
    FAIL = "fail"  #: something that is configured does not work


@dataclass(frozen=True)
class Finding:
    """The result of a check: one line of the doctor's output."""

    level: Level
    what: str
    detail: str
    fix: str = ""  #: the command or setting that fixes the problem


Check = Callable[[Settings], Iterator[Finding]]


def packages(settings: Settings) -> Iterator[Finding]:
    """Check which extras are installed, and whether the settings need others."""
    version = importlib.metadata.version("segadmin")
    yield Finding(Level.OK, "python", f"{sys.version.split()[0]}, segadmin {version}")
    extras = {
        "worker": (Level.WARN, "this machine can enqueue, but not work"),
        "embedded": (Level.FAIL if settings.embedded_broker else Level.OK, "the embedded Redis"),
        "postgres": (Level.FAIL if settings.sqlalchemy_url.startswith("postgres") else Level.OK, "PostgreSQL"),
        "demo": (Level.WARN, "segadmin demo needs it"),
    }
    for extra, (level, reason) in extras.items():
        missing = _missing(extra)
        if not missing:
            yield Finding(Level.OK, f"extra {extra}", "installed")
        elif level == Level.OK:
            yield Finding(Level.OK, f"extra {extra}", "not installed, not needed with these settings")
        else:
            detail = f"not installed: {', '.join(missing)} ({reason})"
            yield Finding(level, f"extra {extra}", detail, f"pip install 'segadmin[{extra}]'")


def variables(_settings: Settings) -> Iterator[Finding]:
    """Check that every ``SEGADMIN_`` variable is a setting."""
    for name, suggestion in preflight.unknown_variables(os.environ).items():
        yield Finding(Level.WARN, "variables", f"{name} is no setting.{suggestion}", f"rename it, or unset {name}")


def values(settings: Settings) -> Iterator[Finding]:
    """Check that the settings are valid, except for those that other checks cover."""
    chosen = sorted(settings.model_fields_set)
    yield Finding(Level.OK, "settings", f"chosen: {', '.join(chosen)}" if chosen else "all defaults")
    for name, check in preflight.CHECKS.items():
        if name not in _CHECKED_ELSEWHERE:
            lines = list(check(settings))
            yield from (Finding(Level.FAIL, f"setting {name}", line) for line in lines)
            if not lines and name in chosen:
                value = shown(name, getattr(settings, name)).partition("=")[2]
                yield Finding(Level.OK, f"setting {name}", value)
    if (problem := same_port(settings)) is not None:
        yield Finding(Level.FAIL, "setting web_port", problem)


def sql(settings: Settings) -> Iterator[Finding]:
    """Check that the database is not damaged, answers, and has the schema of this version."""
    check_database(settings)
    revision = database.revision(settings)
    if revision is None:
        database.refuse_lost(settings)
    url = database.shown(settings)
    if revision == database.HEAD:
        read_tables(settings)
        yield Finding(Level.OK, "database", f"{url}, revision {revision}")
    elif revision is None and not settings.database_url:
        yield Finding(Level.OK, "database", f"{url}, made at first use")
    else:
        detail = f"{url} is at revision {revision or 'none'}, not {database.HEAD}"
        fix = "segadmin db upgrade"
        if database.is_newer(revision):
            detail, fix = f"{detail}: a newer segadmin made it", "pip install --upgrade segadmin"
        yield Finding(Level.FAIL, "database", detail, fix)


def store(settings: Settings) -> Iterator[Finding]:
    """Check that the store belongs to the database, is writable and has enough free space."""
    folder = settings.store_path
    if problems := list(preflight.CHECKS["store"](settings)):
        yield from (Finding(Level.FAIL, "store", problem) for problem in problems)
        return
    free = shutil.disk_usage(folder).free
    level = Level.FAIL if free < _DISK_FAIL else Level.WARN if free < _DISK_WARN else Level.OK
    fix = "" if level == Level.OK else "free some space, or set SEGADMIN_STORE to another disk"
    yield Finding(level, "store", f"{folder}, {free / 2**30:.1f} GiB free", fix)


def rights(settings: Settings) -> Iterator[Finding]:
    """Check that other users of this machine cannot read or change segadmin's files."""
    exposed_paths = list(exposures(settings))
    yield from (Finding(Level.WARN, "rights", str(exposure), exposure.fix) for exposure in exposed_paths)
    if not exposed_paths:
        users = "its owner" if settings.umask == "077" else f"its owner and group (umask {settings.umask})"
        yield Finding(Level.OK, "rights", f"{settings.root} is only accessible to {users}")


def inbox(settings: Settings) -> Iterator[Finding]:
    """Check that posted events are imported: no batch was set aside, and none waits for long."""
    box = Inbox.of(settings)
    if failed := box.failed():
        detail = f"no import could take {_batches(failed)}: {failed[0].reason[:200]}"
        yield Finding(Level.FAIL, "inbox", detail, "segadmin data inbox")
    waiting = box.batches()
    job = failed_import(settings) if waiting and database.revision(settings) == database.HEAD else None
    oldest = box.oldest() or time.time()
    if job is not None:
        detail = f"waiting: {_batches(waiting)}; the import, job {job.id}, failed: {job.error}"
        fix = f"fix that; beat tries it again every minute, or at once: segadmin jobs retry {job.id}"
        yield Finding(Level.FAIL, "inbox", detail, fix)
    elif time.time() - oldest > _INBOX_LATE.total_seconds() + settings.inbox_seconds:
        since = datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds")
        detail = f"waiting since {since}: {_batches(waiting)}"
        yield Finding(Level.WARN, "inbox", detail, "segadmin enqueue ingest inbox:// --wait")
    elif not failed:
        yield Finding(Level.OK, "inbox", f"waiting: {_batches(waiting)}")


def _batches(batches: Sequence[object]) -> str:
    return "1 batch of posted events" if len(batches) == 1 else f"{len(batches):,} batches of posted events"


def erasure(settings: Settings) -> Iterator[Finding]:
    """Check whether an erasure of users was interrupted before it had deleted everything."""
    if was_interrupted(settings):
        detail = "an erasure of users was interrupted, and some of what it was to delete is still there"
        yield Finding(Level.WARN, "erasure", detail, "segadmin data forget")


def champions(settings: Settings) -> Iterator[Finding]:
    """Check that the champions can be used: every refresh needs them."""
    from segadmin.models.usable import why_unusable
    from segadmin.models.versions import champions as numbers_of

    if database.revision(settings) != database.HEAD:
        return
    with database.reading(settings) as session:
        versions = [session.get_one(ModelVersion, number) for number in numbers_of(session).values()]
    for version in versions:
        if (trouble := why_unusable(settings, version)) is not None:
            detail = f"version {version.id} of {version.label_set!r} cannot be used: {trouble}"
            yield Finding(Level.WARN, "champion", detail)


def canary(settings: Settings) -> Iterator[Finding]:
    """Check that the new versions that score a share of the users can be used, and show until when they do."""
    from segadmin.models.canary import list_canaries
    from segadmin.models.usable import why_unusable

    if database.revision(settings) != database.HEAD:
        return
    with database.reading(settings) as session:
        running = [row for row in list_canaries(session) if row.state == CanaryState.RUNNING]
        challengers = [session.get_one(ModelVersion, row.challenger_id) for row in running]
    for row, challenger in zip(running, challengers, strict=True):
        if (trouble := why_unusable(settings, challenger)) is not None:
            fix = f"segadmin models canary stop --labels {quote(row.label_set)}"
            yield Finding(Level.WARN, "canary", f"version {row.challenger_id} cannot be used: {trouble}", fix)
        else:
            yield Finding(Level.OK, "canary", canary_line(row))


def broker(settings: Settings) -> Iterator[Finding]:
    """Check that the broker answers and that every queue has a worker."""
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
    workers = inspection.workers(settings)
    for queue in inspection.QUEUES:
        names = [name for name, queues in workers.items() if queue in queues]
        if names:
            yield Finding(Level.OK, f"queue {queue}", ", ".join(names))
        else:
            fix = "segadmin up --detach" if settings.embedded_broker else f"segadmin worker --queues {queue}"
            yield Finding(Level.FAIL, f"queue {queue}", "no worker answers", fix)


def beat(settings: Settings) -> Iterator[Finding]:
    """Check that a beat runs and looks for due work: on this machine or, if no schedule is overdue, elsewhere."""
    from segadmin.jobs.schedules import list_schedules, overdue

    status = state.read(settings)
    services = status.services if status else ()
    service = next((service for service in services if service.name == "beat"), None)
    runs_here = service is not None and service.process is not None and service.state == ServiceState.RUNNING
    if service is not None and (silence := state.hung_for(settings, service)) is not None:
        detail = f"hangs (pid {service.pid}): it has not looked for due schedules for {duration(silence)}"
        yield Finding(Level.FAIL, "beat", detail, "segadmin down, then: segadmin up --detach")
    elif runs_here:
        yield Finding(Level.OK, "beat", f"runs here (pid {service.pid if service else None})")
    try:
        if database.revision(settings) != database.HEAD:
            return
        late, count = overdue(settings), len(list_schedules(settings))
    except StorageError:  # the check of the database reports it
        return
    if late:
        what, fix = "beat", "segadmin up --detach, or segadmin beat"
        if runs_here and service is not None:
            what, fix = "schedules", f"read why: {service.log}"
        yield Finding(Level.FAIL, what, f"overdue: {', '.join(late)}", fix)
    elif not runs_here:
        yield Finding(Level.OK, "beat", f"does not run here; schedules: {count:,}, none is overdue")


def freshness(settings: Settings) -> Iterator[Finding]:
    """Check that the freshness objectives of schedules are met."""
    from segadmin.workflows.objectives import objectives
    from segadmin_api.freshness_words import objective_line

    if database.revision(settings) != database.HEAD:
        return
    for objective in objectives(settings):
        level = Level.WARN if objective.missed else Level.OK
        yield Finding(level, "freshness", objective_line(objective), objective.fix)


def plugins(settings: Settings) -> Iterator[Finding]:
    """Check that every plugin loads."""
    from segadmin.contracts.plugins import KINDS, load_plugins

    loaded = load_plugins(settings)
    for error in loaded.broken.values():
        yield Finding(Level.FAIL, "plugins", str(error))
    if not loaded.broken:
        counts = ", ".join(f"{kind} {len(loaded.names(kind))}" for kind in KINDS)
        yield Finding(Level.OK, "plugins", counts)


def weights(settings: Settings, backbone: str, *, requested: bool) -> Iterator[Finding]:
    """Check that the weights and libraries of a backbone are available; ``requested``: the user named the backbone."""
    from segadmin.contracts.plugins import load_plugins
    from segadmin.contracts.resolve import resolve_backbone
    from segadmin.errors import BackboneUnavailable, PluginError

    try:
        plugins = load_plugins(settings)
        name, options = resolve_backbone(plugins, backbone, {})
        plugins.make("backbone", name, options).check(settings)
    except (BackboneUnavailable, PluginError) as error:
        level = Level.FAIL if requested or isinstance(error, PluginNotFound) else Level.WARN
        yield Finding(level, f"backbone {backbone}", str(error))
    else:
        yield Finding(Level.OK, f"backbone {backbone}", "its weights are here")


def gpu(_settings: Settings) -> Iterator[Finding]:
    """Check on which accelerator models train."""
    if _missing("worker"):
        return
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Finding(Level.OK, f"GPU {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    elif shutil.which("nvidia-smi"):
        detail = f"there is an NVIDIA driver, but torch {torch.__version__} does not see a GPU"
        yield Finding(Level.WARN, "GPU", detail, "pip install torch (the CUDA build); look at nvidia-smi")
    else:
        yield Finding(Level.OK, "GPU", f"none; models train on {os.cpu_count()} CPU cores")


def _runs_here(settings: Settings) -> bool:
    status = state.read(settings)
    return status is not None and status.process is not None


def _missing(extra: str) -> list[str]:
    """Return the distributions of an extra that are not installed."""
    missing = []
    for requirement in importlib.metadata.requires("segadmin") or []:
        specifier, _, marker = requirement.partition(";")
        name = re.split(r"[^\w.-]", specifier.strip(), maxsplit=1)[0]
        if f'extra == "{extra}"' not in marker.replace("'", '"') or name == "segadmin":
            continue
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing
