"""``segadmin data merge`` and ``data merges``: users who become one, as a visitor becomes a customer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.errors import ConfigurationError, DataError
from segadmin.settings import get_settings
from segadmin_api.cli.output import JsonOption, confirm, echo, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_merge
from segadmin_api.formatting import ago

if TYPE_CHECKING:
    from segadmin.events.merge import MergedPair, UserPair
    from segadmin.storage.records import UserMerge
    from segadmin_api.client import Client


def merge(
    old: Annotated[
        str | None,
        typer.Argument(metavar="OLD", help="The user who is merged, such as a visitor: the shop's id or a pseudonym."),
    ] = None,
    new: Annotated[
        str | None, typer.Argument(metavar="NEW", help="The user to merge into, such as the customer.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="CSV file of pairs, with the columns old and new, or without a header.")
    ] = None,
    undo: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Undo this merge: OLD gets all rows back that came under OLD.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge a user into another one: events and labels move, and later events of OLD belong to NEW.

    The next refresh scores NEW again, and OLD leaves the segments. Pairs that cannot be merged are listed, and the
    exit code is 1; the others are merged nevertheless. An erasure of either user erases both.
    """
    from segadmin.events.merge import UserPair, check_pairs, merge_users

    if undo is not None:
        if old or file:
            raise typer.BadParameter("This option takes no users and no file.", param_hint="--undo")
        _undo(undo, yes=yes, as_json=as_json)
        return
    if (old is None) == (file is None) or (old is not None and new is None):
        raise typer.BadParameter("Name two users, or a file of pairs: --file", param_hint="OLD NEW")
    pairs = _read(file) if file is not None else [UserPair(old or "", new or "")]
    checked = [] if get_settings().server or len(pairs) > 1 else check_pairs(get_settings(), pairs)
    if not yes and not any(each.problem for each in checked):
        what = f"{old!r} into {new!r}" if file is None else counted(len(pairs), "pair") + " of users"
        confirm(f"Merge {what}?")
    done = answer(
        lambda settings: merge_users(settings, pairs), lambda client: [_merge_there(client, pair) for pair in pairs]
    )
    if as_json:
        show_json([_facts(each) for each in done])
    else:
        for each in done:
            _show(each, file)
        if any(each.state == "merged" for each in done):
            echo("The next refresh scores NEW again, and OLD leaves the segments: segadmin enqueue refresh --wait")
    if any(each.problem for each in done):
        raise typer.Exit(1)


def merges(as_json: JsonOption = False) -> None:
    """List the merges of users, newest first, with what moved."""
    from segadmin.events.keys import show_key
    from segadmin.events.merge import list_merges

    rows = answer(list_merges, lambda client: list(map(as_merge, client.items(client.list_merges))))
    if as_json:
        show_json([_record(row) for row in rows])
        return
    table(
        "",
        [">merge", "old", "new", "state", ">events", ">labels", ">duplicates", "when"],
        [
            (
                *(row.id, show_key(row.old_key), show_key(row.new_key), row.state),
                *(f"{row.moved[name]:,}" if name in row.moved else "" for name in ("events", "labels", "duplicates")),
                ago(row.created_at),
            )
            for row in rows
        ],
        empty="No users were merged. To merge two: segadmin data merge OLD NEW",
    )


def _read(file: Path) -> list[Any]:
    from segadmin.events.merge import UserPair
    from segadmin.events.user_list import read_pairs

    pairs = [UserPair(old, new, line) for line, old, new in read_pairs(file)]
    if not pairs:
        raise DataError(f"{file} has no pairs of users.")
    return pairs


def _merge_there(client: Client, pair: UserPair) -> MergedPair:
    """Merge a pair on a server; what it refuses is a problem of this pair."""
    from segadmin.events.merge import MergedPair, PairState

    try:
        done = client.merge_users(pair.old, pair.new)
    except (ConfigurationError, DataError) as error:
        return MergedPair(pair, PairState.REFUSED, str(error))
    return MergedPair(pair, PairState.MERGED if done.created else PairState.ALREADY, merge=as_merge(done))


def _undo(number: int, *, yes: bool, as_json: bool) -> None:
    from segadmin.events.merge import undo_merge

    if not yes:
        confirm(f"Undo merge {number}?")
    row = answer(lambda settings: undo_merge(settings, number), lambda client: as_merge(client.undo_merge(number)))
    if as_json:
        show_json(_record(row))
        return
    echo(f"Merge {number} is undone. Score both users again: segadmin enqueue refresh --wait")


def _show(done: MergedPair, file: Path | None) -> None:
    from segadmin.events.keys import show_key

    prefix = "" if done.pair.line is None else f"{file}, line {done.pair.line}: "
    row = done.merge
    if done.problem or row is None:
        echo(f"{prefix}{done.problem}", err=True)
        return
    users = f"user {show_key(row.old_key)} into {show_key(row.new_key)}"
    moved = ", ".join(f"{name}: {count:,}" for name, count in row.moved.items() if count) or "no rows"
    echo(f"{prefix}merge {row.id}: {users}, {done.state} ({moved}).")


def _facts(done: MergedPair) -> dict[str, Any]:
    facts = {"old": done.pair.old, "new": done.pair.new, "line": done.pair.line, "state": done.state}
    return facts | {"problem": done.problem or None, "merge": None if done.merge is None else _record(done.merge)}


def _record(row: UserMerge) -> dict[str, Any]:
    from segadmin.events.keys import show_key

    keys = {"old_key": show_key(row.old_key), "new_key": show_key(row.new_key)}
    return row.model_dump(mode="json") | keys
