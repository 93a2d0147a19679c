"""``segadmin models canary``: a challenger that scores a share of the users, beside the champion."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segadmin.counts import counted
from segadmin.models import canary as canaries
from segadmin.settings import Settings
from segadmin.storage.database import reading
from segadmin.storage.records import Canary, CanaryState
from segadmin_api.cli.output import JsonOption, echo, group, nothing, show_json, table
from segadmin_api.cli.remote import answer
from segadmin_api.cli.remote_records import as_record, as_records
from segadmin_api.formatting import canary_line

if TYPE_CHECKING:
    from segadmin_api.client import Client

app = group("A new version that scores a share of the users, to be compared with the champion.")
Labels = Annotated[
    str | None, typer.Option("--labels", "--label-set", help="The label set; needed only if several have a canary.")
]
_METRICS = {"auroc": "AUROC", "macro_f1": "F1", "accuracy": "accuracy"}


@app.command("list")
def list_(
    labels: Annotated[
        str | None, typer.Option("--labels", "--label-set", help="Only canaries of this label set.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List all canaries, newest first, and why those ended that are over."""
    rows = answer(
        lambda settings: _list(settings, labels),
        lambda client: as_records(Canary, client.items(client.list_canaries, labels=labels)),
    )
    if as_json:
        show_json([_facts(row) for row in rows])
        return
    table(
        "",
        [">id", "labels", ">version", ">champion", ">share", "state", "since", "until"],
        [
            (
                row.id,
                row.label_set,
                row.challenger_id,
                row.champion_id,
                f"{row.share:.1%}",
                row.state,
                f"{row.since:%Y-%m-%d}",
                f"{row.until:%Y-%m-%d}",
            )
            for row in rows
        ],
        empty=nothing("No canaries yet. Start one: segadmin enqueue retrain --canary 5%", labels=labels),
    )
    for row in rows:
        if row.reason:
            echo(f"canary {row.id} {row.state}: {row.reason}")


@app.command()
def show(labels: Labels = None, as_json: JsonOption = False) -> None:
    """Show the canary that is running, and the newest comparison of its version with the champion."""
    canary = answer(lambda settings: _find(settings, labels), lambda client: _find_there(client, labels))
    if as_json:
        show_json(_facts(canary))
        return
    echo(canary_line(canary))
    if canary.comparison:
        _print_comparison(canary.comparison)
    else:
        echo("They are compared by the next refresh.")
    of_labels = f" --labels {quote(canary.label_set)}"
    echo(f"Every refresh compares them, and that at its end decides: segadmin enqueue refresh{of_labels} --wait")
    echo(
        f"Promote it now: segadmin models promote {canary.challenger_id} · stop it: "
        f"segadmin models canary stop{of_labels}"
    )


@app.command()
def stop(
    labels: Labels = None,
    reason: Annotated[str, typer.Option(help="The reason, for the audit log.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Stop the canary: from the next refresh on, the champion scores its users again."""
    canary = answer(
        lambda settings: canaries.stop_canary(settings, labels, reason),
        lambda client: as_record(
            Canary, client.stop_canary(_find_there(client, labels).id or 0, reason=reason), salt=0
        ),
    )
    if as_json:
        show_json(_facts(canary))
        return
    echo(f"Stopped the canary of version {canary.challenger_id}; it stays a challenger.")
    command = f"segadmin enqueue refresh --labels {quote(canary.label_set)} --wait"
    echo(f"The next refresh gives its users back to version {canary.champion_id}: {command}")


def _list(settings: Settings, labels: str | None) -> Sequence[Canary]:
    with reading(settings) as session:
        return canaries.list_canaries(session, labels)


def _find(settings: Settings, labels: str | None) -> Canary:
    with reading(settings) as session:
        return canaries.find_running(session, labels)


def _find_there(client: Client, labels: str | None) -> Canary:
    running = client.items(client.list_canaries, labels=labels, state=CanaryState.RUNNING)
    return canaries.the_running(as_records(Canary, running), labels)


def _print_comparison(comparison: dict[str, Any]) -> None:
    interval = _interval(comparison["agreement_low"], comparison["agreement_high"], ".1%")
    echo(
        f"as of {comparison['as_of'][:10]}: {counted(comparison['users'], 'user')} of the canary, "
        f"{comparison['compared']:,} of them compared; both models agree on {comparison['agreement']:.1%}{interval}"
    )
    columns = [">champion", ">challenger", ">difference", ">95 % interval"]
    shares = {f"share of {name}": pair for name, pair in comparison["segments"].items()}
    if comparison["confidence"]:
        shares["mean confidence"] = comparison["confidence"]
    table("the same users", ["", *columns], [_cells(name, pair, ".1%", "+.1%") for name, pair in shares.items()])
    metrics = {f"estimated {_METRICS[name]}": pair for name, pair in comparison["estimated"].items()}
    measured = comparison["measured"]
    if measured:
        metrics |= {f"measured {_METRICS[name]}": pair for name, pair in measured["metrics"].items()}
    if metrics:
        table("metrics", ["", *columns], [_cells(name, pair, ".4f", "+.4f") for name, pair in metrics.items()])
    if comparison["unknown"]:
        echo(f"Metrics are not estimated: {comparison['unknown']}.")
    if measured:
        echo(
            f"Measured on snapshot {measured['snapshot']}: {counted(measured['champion_users'], 'user')} of the "
            f"champion, {measured['challenger_users']:,} of the canary."
        )
    else:
        echo("No outcomes are known yet.")
    echo(f"stability index of the segments: {comparison['stability_index']:.3f}")


def _cells(name: str, pair: dict[str, Any], form: str, signed: str) -> tuple[str, ...]:
    difference = pair["challenger"] - pair["champion"]
    interval = _interval(pair["low"], pair["high"], signed).strip() or "too few users"
    return name, format(pair["champion"], form), format(pair["challenger"], form), format(difference, signed), interval


def _interval(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"


def _facts(canary: Canary) -> dict[str, Any]:
    return canary.model_dump(mode="json", exclude={"salt"}) | {"running": canary.state == CanaryState.RUNNING}
