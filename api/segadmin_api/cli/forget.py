"""``segadmin data forget``: users are erased."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.counts import counted
from segadmin.errors import UserNotFound
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, confirm, echo, show_json
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_record

if TYPE_CHECKING:
    from segadmin.events.erase import Erased
    from segadmin.events.user_list import ListedUser
    from segadmin_api.client import Client


def forget(
    users: Annotated[
        list[str] | None,
        typer.Argument(metavar="USER...", help="User ids of the shop, or pseudonyms of 16 hex digits."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="CSV file with a column of users, or one user per line.")] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of users in the file; default: user, user_id or similar.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase users permanently: from tables, quarantine, pending imports and job outputs.

    Unknown users are listed, and the exit code is 1; the others are erased nevertheless. Without USER, an interrupted
    erasure is completed. If the shop continues to send events of a user, the user is created again: stop that first.
    """
    from segadmin.events.erase import forget as erase
    from segadmin.events.erasure_mark import was_interrupted
    from segadmin.events.user_list import ListedUser, read_users

    if column is not None and file is None:
        raise typer.BadParameter("This option needs a file. Add it: --file", param_hint="--column")
    listed = [*(ListedUser(user) for user in users or []), *(read_users(file, column) if file else [])]
    for name in {entry.column for entry in listed} - {None}:
        echo(f"{file}: the users are read from the column {name!r}. To use another one: --column NAME", err=True)
    requested: dict[str, ListedUser] = {}
    for entry in listed:
        requested.setdefault(entry.user, entry)
    interrupted = get_settings().server is None and was_interrupted(get_settings())
    if not requested and not interrupted:
        raise typer.BadParameter("Name a user, or a file of users: --file", param_hint="USER")
    if requested and not yes:
        confirm(f"Permanently erase {counted(len(requested), 'user')}?")
    erasures = answer(
        lambda settings: erase(settings, list(requested), waiting=partial(echo, err=True)),
        lambda client: [_erase_there(client, user) for user in requested],
    )
    done = list(zip(requested.values(), erasures, strict=True))
    if interrupted:
        echo("An interrupted erasure was completed.", err=True)
    unknown = [erased for _, erased in done if not erased.is_known]
    if as_json:
        show_json([asdict(erased) | asdict(user) | {"known": erased.is_known} for user, erased in done])
    elif done:
        for user, erased in done:
            _show_erased(user, erased, file)
        echo(f"{len(done) - len(unknown):,} of {counted(len(done), 'user')} erased; {len(unknown):,} not found.")
    if unknown:
        raise typer.Exit(1)


def _erase_there(client: Client, user: str) -> Erased:
    """Erase a user on a server, which does not tell the pseudonym of one whom it does not know."""
    from segadmin.events.erase import Erased

    try:
        return as_record(Erased, client.erase_user(user))
    except UserNotFound:
        return Erased("no pseudonym", {}, [])


def _show_erased(user: ListedUser, erased: Erased, file: Path | None) -> None:
    if not erased.is_known:
        prefix = "" if user.line is None else f"{file}, line {user.line}: "
        suggestion = f" Did you mean {' or '.join(map(repr, erased.similar))}?" if erased.similar else ""
        echo(f"{prefix}user {user.user!r} ({erased.user_key}) is not known; nothing was erased.{suggestion}", err=True)
        return
    rows = ", ".join(f"{table}: {count:,}" for table, count in erased.rows.items() if count)
    echo(f"user {erased.user_key}: erased ({rows}).")
    if erased.merged:
        echo(f"  Erased with the users who were merged: {', '.join(erased.merged)}")
    if erased.similar:
        echo(f"  A user with a similar id was not erased: {' or '.join(map(repr, erased.similar))}")
    if erased.model_versions:
        numbers = ", ".join(str(number) for number in erased.model_versions)
        echo(f"  Model {numbers} was trained on this user and cannot unlearn. Retrain: segadmin enqueue retrain")
