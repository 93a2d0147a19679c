"""``segadmin users``: one user."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from segadmin.settings import Settings, get_settings
from segadmin_api.cli.output import AtOption, JsonOption, echo, group, show_json, table, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from segadmin.snapshots.user import Assigned

app = group("One user: segment, text, history.")
_BAR_WIDTH = 30


@app.callback()
def _several() -> None:
    """Make `show` a subcommand although it is the only one."""


@app.command()
def show(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="The user id of the shop, or a pseudonym of 16 hex digits.")
    ],
    text: Annotated[bool, typer.Option("--text", help="Also show the text that the model reads.")] = False,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the segment of a user, the probabilities of all segments, and earlier segments."""
    from segadmin.snapshots.user import known_at

    settings = get_settings()
    key, rows, text_of = (_remote if settings.server else _local)(settings, user, text=text)
    current = [row for row in rows if row.current] if at is None else known_at(rows, at.replace(tzinfo=UTC))
    texts = {row.label_set: text_of(row) for row in current} if text else {}
    if as_json:
        shown = rows if at is None else current
        facts = {"user_key": key, "history": [asdict(row) for row in shown]}
        show_json(facts | ({"text": texts} if text else {}))
        return
    echo(f"user {key}")
    if not current and at is None:
        echo("In no current snapshot. Score all users: segadmin enqueue score --wait")
    elif not current:
        echo(f"In no snapshot as of {at:%Y-%m-%d %H:%M} or before. See: segadmin snapshots list")
    for row in current:
        _print_probabilities(row)
    if at is None and len(rows) > len(current):
        table(
            "history",
            [">snapshot", "labels", "as of", "segment", ">probability", ">model"],
            [
                (
                    row.snapshot_id,
                    row.label_set,
                    row.as_of[:10],
                    row.segment,
                    f"{max(row.probabilities.values()):.2f}",
                    row.model_version_id,
                )
                for row in rows
            ],
        )
    for label_set, phrases in texts.items():
        echo(f"what the model of {label_set} reads, the most informative first ({len(phrases)}):")
        for phrase in phrases:
            echo(f"  {phrase}")


#: A user's pseudonym, the assignments, the newest first, and what returns the text that the model of one reads.
_User = tuple[str, "list[Assigned]", "Callable[[Assigned], list[str]]"]


def _local(settings: Settings, user: str, *, text: bool) -> _User:
    from segadmin.events.keys import show_key
    from segadmin.snapshots.user import find_user, history, read_text
    from segadmin.storage.audit import record

    key = find_user(settings, user)
    record(settings, "users.show", f"user {show_key(key)}", text=text)
    return show_key(key), history(settings, key), lambda row: read_text(settings, key, row.model_version_id)


def _remote(settings: Settings, user: str, *, text: bool) -> _User:
    from segadmin.snapshots.user import Assigned
    from segadmin_api.cli.remote import connected

    def read(row: Assigned) -> list[str]:
        with connected(settings) as client:
            return client.show_user_text(user, labels=row.label_set).phrases

    with connected(settings) as client:
        known = client.show_user(user)
    rows = [Assigned(**row.model_dump() | {"as_of": row.as_of.isoformat()}) for row in known.history]
    return known.user_key, rows, read


def _print_probabilities(row: Assigned) -> None:
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    echo(
        f"{row.label_set}: {row.segment} · snapshot {row.snapshot_id} as of {row.as_of[:10]} · "
        f"model {row.model_version_id}"
    )
    bars = Table(show_header=False, box=None, padding=(0, 1, 0, 2))
    for segment, probability in row.probabilities.items():
        bars.add_row(Text(segment), f"{probability:.2f}", Bar(1.0, 0.0, probability, width=_BAR_WIDTH))
    terminal().print(bars)
