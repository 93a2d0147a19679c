"""``segadmin users``: one user, and what people say about users' segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.errors import AccessRefused
from segadmin.settings import Settings, get_settings
from segadmin_api.cli import corrections, review
from segadmin_api.cli.output import AtOption, JsonOption, echo, group, show_json, table, terminal
from segadmin_api.cli.remote import answer, connected
from segadmin_api.cli.remote_records import as_correction, as_merge, as_record
from segadmin_api.cli.user_argument import User, suggesting

if TYPE_CHECKING:
    from segadmin.snapshots.user import Assigned
    from segadmin.storage.records import Correction, UserMerge
    from segadmin_api.client import Client

app = group("Users: segment, text, history, corrections, and who is worth a look.")
_BAR_WIDTH = 30


@app.command()
def show(
    user: User,
    text: Annotated[bool, typer.Option("--text", help="Also show the text that the model reads.")] = False,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the segment of a user, the probabilities of all segments, and earlier segments."""
    from segadmin.snapshots.user import known_at

    with suggesting(get_settings(), user):
        shown = answer(lambda settings: _local(settings, user, text=text), lambda client: _remote(client, user))
    current = [row for row in shown.history if row.current] if at is None else known_at(shown.history, at)
    texts = {row.label_set: shown.text_of(row) for row in current} if text else {}
    if as_json:
        facts = _facts(shown, shown.history if at is None else current)
        show_json(facts | ({"text": texts} if text else {}))
        return
    echo(f"user {shown.key}")
    _print_merges(shown.merges)
    if not current and at is None:
        echo("In no current snapshot. Score all users: segadmin enqueue score --wait")
    elif not current:
        echo(f"In no snapshot as of {at:%Y-%m-%d %H:%M} or before. See: segadmin snapshots list")
    for row in current:
        _print_probabilities(row)
        _print_override(row, shown.corrections)
    if at is None and len(shown.history) > len(current):
        _print_history(shown.history)
    for label_set, phrases in texts.items():
        echo(f"what the model of {label_set} reads, the most informative first ({len(phrases)}):")
        for phrase in phrases:
            echo(f"  {phrase}")


@dataclass(frozen=True)
class _User:
    """What is shown of a user."""

    key: str  #: the pseudonym
    history: Sequence[Assigned]  #: the newest first
    text_of: Callable[[Assigned], list[str]]  #: returns the text that the model of an assignment reads
    merges: Sequence[UserMerge] = ()
    corrections: Sequence[Correction] = ()


def _local(settings: Settings, user: str, *, text: bool) -> _User:
    from segadmin.events.keys import show_key
    from segadmin.snapshots.corrections import corrections_of
    from segadmin.snapshots.user import find_user, history, merged_into, read_text
    from segadmin.storage.audit import record
    from segadmin.storage.database import reading

    key = find_user(settings, user)
    record(settings, "users.show", f"user {show_key(key)}", text=text)
    with reading(settings) as session:
        corrected = corrections_of(session, key)
    return _User(
        show_key(key),
        history(settings, key),
        lambda row: read_text(settings, key, row.model_version_id),
        merged_into(settings, key),
        corrected,
    )


def _remote(client: Client, user: str) -> _User:
    from segadmin.snapshots.user import Assigned

    def read(row: Assigned) -> list[str]:
        with connected(get_settings()) as another:
            return another.show_user_text(user, model=row.model_version_id).phrases

    details = client.show_user(user)
    rows = [as_record(Assigned, row, as_of=row.as_of.isoformat()) for row in details.history]
    try:
        corrected = list(map(as_correction, client.list_corrections_of_user(user).root))
    except AccessRefused:  # the reasons of corrections are for analysts
        corrected = []
    return _User(details.user_key, rows, read, list(map(as_merge, details.merged)), corrected)


app.command("correct")(corrections.correct)
app.command("pin")(corrections.pin)
app.command("corrections")(corrections.list_)
app.command("review")(review.review)


def _facts(shown: _User, history: Sequence[Assigned]) -> dict[str, Any]:
    """Return what is known of a user, with these assignments, as JSON."""
    from segadmin.events.keys import show_key

    return {
        "user_key": shown.key,
        "history": [asdict(row) for row in history],
        "merged": [{"merge": merge.id, "user_key": show_key(merge.old_key), **merge.moved} for merge in shown.merges],
        "corrections": [each.model_dump(mode="json", exclude={"user_key"}) for each in shown.corrections],
    }


def _print_merges(merges: Sequence[UserMerge]) -> None:
    from segadmin.events.keys import show_key

    for merge in merges:
        moved = ", ".join(f"{name}: {count:,}" for name, count in merge.moved.items() if count) or "no rows"
        echo(f"merged with user {show_key(merge.old_key)} on {merge.created_at:%Y-%m-%d} ({moved}, merge {merge.id})")


def _print_history(history: Sequence[Assigned]) -> None:
    table(
        "history",
        [">snapshot", "labels", "as of", "segment", ">probability", ">model", "decided by"],
        [
            (
                row.snapshot_id,
                row.label_set,
                row.as_of[:10],
                row.segment,
                f"{row.probabilities.get(row.segment, max(row.probabilities.values())):.2f}",
                row.model_version_id,
                row.overridden_by or "model",
            )
            for row in history
        ],
    )


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


def _print_override(row: Assigned, corrected: Sequence[Correction]) -> None:
    """Print what decided about the segment instead of the model, if anything, and who said so."""
    if row.overridden_by is None:
        return
    echo(f"  decided by {row.overridden_by}; by the model: {row.model_segment}")
    newest = next((each for each in corrected if each.label_set == row.label_set), None)
    if row.overridden_by == "correction" and newest is not None:
        echo(f"  {corrections.sentence(newest)}")
