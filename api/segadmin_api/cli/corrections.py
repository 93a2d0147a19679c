"""``segadmin users correct``, ``pin`` and ``corrections``: people override the model."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.settings import Settings, get_settings
from segadmin_api.cli.output import JsonOption, UsageError, echo, moment_of, nothing, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_correction
from segadmin_api.cli.user_argument import User, suggesting

if TYPE_CHECKING:
    from segadmin.snapshots.corrections import Corrected
    from segadmin.storage.records import Correction
    from segadmin_api.client import Client
    from segadmin_api.schemas import users

_DAYS = {"d": 1, "w": 7}
_MAX_DAYS = 36_500
Labels = Annotated[
    str | None, typer.Option("--labels", "--label-set", help="Label set; needed if several have a snapshot.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for those who read it later.")]


def correct(
    user: User,
    reason: Reason,
    segment: Annotated[str | None, typer.Option("--segment", help="The segment that the user belongs to.")] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="End the correction: the user returns to the segment by the model.")
    ] = False,
    expires: Annotated[
        str,
        typer.Option("--expires", metavar="WHEN", help="When it ends: 90d, 12w, a date (UTC), or `never`."),
    ] = "90d",
    weight: Annotated[
        int,
        typer.Option(
            "--weight", help="As how many labelled rows it counts in the next training; 0: it only overrides the model."
        ),
    ] = 1,
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Put a user in a segment, whatever the model says, at once; or withdraw that."""
    from segadmin.snapshots import corrections

    if withdraw == (segment is not None):
        raise UsageError("Give --segment SEGMENT to correct the user, or --withdraw to end the correction.")
    end = None if segment is None else _parse_end(expires)

    def here(settings: Settings) -> Corrected:
        if segment is None:
            return corrections.withdraw(settings, user, reason, label_set=labels)
        return corrections.correct(settings, user, segment, reason, label_set=labels, expires_at=end, weight=weight)

    def there(client: Client) -> Corrected:
        if segment is None:
            return _corrected(client.withdraw_correction(user, reason, labels=labels))
        until = None if end is None else end.isoformat()
        return _corrected(client.correct_user(user, segment, reason, labels=labels, expires_at=until, weight=weight))

    with suggesting(get_settings(), user):
        done = answer(here, there)
    _print(done, as_json=as_json)


def pin(
    user: User,
    reason: Reason,
    segment: Annotated[str | None, typer.Option("--segment", help="Default: the present one.")] = None,
    labels: Labels = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a user in a segment: a correction that never expires, and that no model is trained on.

    End it: segadmin users correct USER --withdraw --reason REASON
    """
    from segadmin.snapshots import corrections

    with suggesting(get_settings(), user):
        done = answer(
            lambda settings: corrections.pin(settings, user, reason, segment=segment, label_set=labels),
            lambda client: _corrected(client.pin_user(user, reason, segment=segment, labels=labels)),
        )
    _print(done, as_json=as_json)


def list_(
    labels: Annotated[str | None, typer.Option("--labels", "--label-set", help="Only of this label set.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that expired or were withdrawn.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the corrections that are in force, newest first."""
    from segadmin.events.keys import show_key

    def there(client: Client) -> list[tuple[Correction, bool]]:
        items = client.items(client.list_corrections, labels=labels, everything=everything)
        return [(as_correction(item), item.in_force) for item in items]

    listed = answer(lambda settings: _list(settings, labels, everything=everything), there)
    if as_json:
        show_json([_facts(row) | {"in_force": in_force} for row, in_force in listed])
        return
    table(
        "",
        [">id", "user", "labels", "segment", ">weight", "until", "by", "reason"],
        [
            (
                row.id,
                show_key(row.user_key),
                row.label_set,
                row.segment,
                row.weight,
                _until(row).removeprefix("until "),
                row.actor,
                row.reason,
            )
            for row, _ in listed
        ],
        empty=nothing(
            "No corrections. Make one: segadmin users correct USER --segment SEGMENT --reason REASON", labels=labels
        ),
    )


def _list(settings: Settings, labels: str | None, *, everything: bool) -> list[tuple[Correction, bool]]:
    """Return corrections, and whether each is in force."""
    from segadmin.labels.corrections import holds
    from segadmin.snapshots.corrections import list_corrections
    from segadmin.storage.database import now, reading

    with reading(settings) as session:
        moment = now(session)
        return [(row, holds(row, moment)) for row in list_corrections(session, labels, over=everything)]


def _corrected(done: users.Corrected) -> Corrected:
    """Return what a server has done."""
    from segadmin.snapshots.corrections import Corrected

    return Corrected(as_correction(done.correction), done.before, done.snapshot, done.replaced, done.job)


def sentence(correction: Correction) -> str:
    """Return who corrected a user when and why, and until when it holds."""
    made = f"{correction.actor} on {correction.created_at:%Y-%m-%d}, {_until(correction)}"
    return f"to {correction.segment} by {made}: {correction.reason}"


def _until(correction: Correction) -> str:
    if correction.withdrawn_at is not None:
        return f"withdrawn {correction.withdrawn_at:%Y-%m-%d}"
    return "for good" if correction.expires_at is None else f"until {correction.expires_at:%Y-%m-%d}"


def _parse_end(text: str) -> datetime | None:
    """Return the moment that ``text`` means, or ``None`` if it never ends.

    Raises:
        typer.BadParameter: it is none of the known forms.
    """
    if text == "never":
        return None
    match = re.fullmatch(r"(\d{1,5})([dw])", text)
    if match is not None and 0 < int(match[1]) * _DAYS[match[2]] <= _MAX_DAYS:
        return datetime.now(UTC) + timedelta(days=int(match[1]) * _DAYS[match[2]])
    try:
        return moment_of(text)
    except typer.BadParameter:
        raise typer.BadParameter(
            f"{text!r} is neither a time from now such as 90d or 12w, nor a date such as 2027-01-31, nor `never`",
            param_hint="--expires",
        ) from None


def _facts(correction: Correction) -> dict[str, Any]:
    from segadmin.events.keys import show_key

    return {"user": show_key(correction.user_key), **correction.model_dump(mode="json", exclude={"user_key"})}


def _print(done: Corrected, *, as_json: bool) -> None:
    from segadmin.events.keys import show_key

    row = done.correction
    if as_json:
        facts = {"before": done.before, "snapshot": done.snapshot_id, "replaced": done.replaced, "job": done.job_id}
        show_json({"correction": _facts(row), **facts})
        return
    user = f"user {show_key(row.user_key)}"
    before = "in no snapshot" if done.before is None else done.before
    if row.withdrawn_at is not None:
        echo(f"{user}: correction {row.id} to {row.segment} is withdrawn.")
    else:
        echo(f"{user}: {row.segment} in {row.label_set}, {_until(row)} (correction {row.id}); before: {before}.")
    if done.replaced is not None:
        echo(f"It replaces correction {done.replaced}.")
    if done.snapshot_id is not None:
        echo(f"Snapshot {done.snapshot_id} has it, and is current.")
    elif done.before is not None:
        echo("The current snapshot has this already, and stays as it is.")
    else:
        echo("The user is in no current snapshot; the next one will have it: segadmin enqueue score --wait")
    if done.job_id is not None:
        echo(f"Job {done.job_id} is putting users in segments; its snapshot will have it, too.")
