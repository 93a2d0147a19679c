"""``segadmin data inbox``: posted events that wait for their import, and batches that could not be imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from segadmin.counts import counted
from segadmin.events.inbox import Inbox
from segadmin.events.mapping import Mapping
from segadmin.settings import Settings, get_settings
from segadmin.storage.audit import record
from segadmin.storage.import_lock import users_stay
from segadmin_api.cli.output import JsonOption, confirm, echo, show_json, table

_ALL = "all"


def inbox(
    retry: Annotated[
        list[str] | None, typer.Option(metavar="BATCH", help="Import a batch that was set aside again; or: all.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="BATCH", help="Delete a batch that was set aside; or: all.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show posted events that wait for their import, and batches that were set aside after failed imports.

    The other batches are imported without them. Each is listed with its error; its file is under `store/inbox-failed`.
    """
    settings = get_settings()
    box = Inbox.of(settings)
    if retry and drop:
        raise typer.BadParameter("use either --retry or --drop", param_hint="--drop")
    if retry:
        _retry(settings, box, retry, as_json=as_json)
    elif drop:
        _drop(settings, box, drop, yes=yes, as_json=as_json)
    else:
        _show(box, as_json=as_json)


def _names(box: Inbox, names: list[str]) -> list[str]:
    """Return the given names of failed batches, without duplicates; ``all`` stands for all of them.

    Raises:
        DataError: there is no such batch.
    """
    if names == [_ALL]:
        return [batch.name for batch in box.failed()]
    for name in names:
        box.check_failed(name)
    return list(dict.fromkeys(names))


def _retry(settings: Settings, box: Inbox, requested: list[str], *, as_json: bool) -> None:
    from segadmin_api.inbox_import import import_soon

    with users_stay(settings):  # an erasure rewrites or removes batches
        names = _names(box, requested)
        for name in names:
            box.put_back(name)
            record(settings, "data.inbox.retry", f"batch {name}")
    if names:
        import_soon(settings, Mapping.read(settings.events_mapping))
    if as_json:
        show_json({"retried": names})
    else:
        echo(f"Put back {_batches(names)}, to be imported with the next posted events. See: segadmin jobs list")


def _drop(settings: Settings, box: Inbox, requested: list[str], *, yes: bool, as_json: bool) -> None:
    names = _names(box, requested)
    if names and not yes:
        confirm(f"Permanently delete {_batches(names)} with all events?")
    with users_stay(settings):  # an erasure might recreate a batch
        for name in names:
            box.drop(name)
            record(settings, "data.inbox.drop", f"batch {name}")
    if as_json:
        show_json({"dropped": names})
    else:
        echo(f"Deleted {_batches(names)}.")


def _batches(batches: Sequence[object]) -> str:
    return counted(len(batches), "batch", "batches")


def _show(box: Inbox, *, as_json: bool) -> None:
    waiting, failed = box.batches(), box.failed()
    oldest = box.oldest()
    since = None if oldest is None else datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds")
    if as_json:
        show_json({"waiting": len(waiting), "oldest": since, "failed": [asdict(batch) for batch in failed]})
        return
    echo(f"{_batches(waiting)} to be imported{'' if since is None else f', the oldest since {since}'}.")
    if failed:
        rows = [(batch.name, f"{batch.bytes:,}", batch.attempts, batch.failed_at, batch.reason) for batch in failed]
        table("set aside", ["batch", ">bytes", ">attempts", "since", "reason"], rows)
        echo("Try again: segadmin data inbox --retry BATCH · Delete: segadmin data inbox --drop BATCH")
