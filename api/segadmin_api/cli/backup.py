"""``segadmin backup`` and ``segadmin restore``: the database, the store and the secret in one file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from segadmin.counts import counted
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, echo, show_json, terminal

#: Seconds without a terminal between two lines of progress.
_LINE_SECONDS = 20.0
#: Seconds after which the time left is known well enough.
_KNOWN_SECONDS = 3.0
_MIB = 2**20


def backup(
    out: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    as_json: JsonOption = False,
) -> None:
    """Save the database, the store and the secret in one file, while services run.

    Imports and erasures wait until it is done. The file holds users' events and the secret of their pseudonyms: only
    its owner can read it, and it should be kept as safe as the store itself. Users who are erased later remain in it.
    """
    from segadmin.backup.create import create_backup

    settings = get_settings()
    with _progress("Copying") as progress:
        saved = create_backup(settings, out, progress)
    if as_json:
        show_json(asdict(saved))
        return
    echo(
        f"Wrote {out}: {counted(saved.rows, 'row')} of the database, {counted(saved.files, 'file')}, "
        f"{saved.bytes / _MIB:,.1f} MiB, readable by its owner only."
    )
    if settings.user_key_secret is not None:
        echo("The secret is not in it: keep SEGADMIN_USER_KEY_SECRET, without which it cannot be restored.")
    for name in saved.left_out:
        echo(f"Left out: {name}")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `segadmin backup` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """Restore a backup into an empty home, store and database, such as `segadmin --home NEW restore FILE`.

    The database may be another one than that of the backup, SQLite or PostgreSQL: set SEGADMIN_DATABASE_URL. Every
    file is checked before any is put in place.
    """
    from segadmin.backup.restore import restore_backup

    settings = get_settings()
    with _progress("Restoring") as progress:
        restored = restore_backup(settings, file, progress)
    if as_json:
        show_json(asdict(restored))
        return
    echo(
        f"Restored {counted(restored.files, 'file')} into {settings.root}, as of {restored.created} (segadmin "
        f"{restored.version}). Users who were erased since are in it again: segadmin data forget. Check it: segadmin "
        "doctor"
    )
    if restored.needs_secret:
        echo("The secret was not in it: set SEGADMIN_USER_KEY_SECRET as before.")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how much is done and the time left; without a terminal as a line every 20 seconds."""
    console = terminal(stderr=True)
    started = printed = time.monotonic()
    with console.status(f"{what} …") as spinner:

        def show(done: int, total: int) -> None:
            nonlocal printed
            now = time.monotonic()
            if now - printed < (0.2 if console.is_terminal else _LINE_SECONDS):
                return
            printed = now
            line = f"{what}: {_amounts(done, total, now - started)}"
            spinner.update(line) if console.is_terminal else echo(line, err=True)

        yield show


def _amounts(done: int, total: int, seconds: float) -> str:
    from segadmin_api.formatting import duration

    text = f"{done / _MIB:,.0f} of {total / _MIB:,.0f} MiB"
    if seconds < _KNOWN_SECONDS or not done:
        return text
    return f"{text}, about {duration(seconds / done * (total - done))} left"
